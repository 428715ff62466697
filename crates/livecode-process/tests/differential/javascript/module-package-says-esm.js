import fs from 'node:fs';
import { value } from './other.js';
console.log(value, import.meta.url, typeof require, fs.existsSync('package.json'));
//== package.json
{"type": "module"}
//== other.js
export const value = 7;
