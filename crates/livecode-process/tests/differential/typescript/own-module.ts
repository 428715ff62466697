import { area } from './shapes';
console.log(area(2).toFixed(3));
//== shapes.ts
export function area(radius: number): number { return Math.PI * radius ** 2; }
