import('./other.mjs').then(other => console.log(other.default, other));
//== other.mjs
export default await Promise.resolve('top-level await');
export const url = import.meta.url;
