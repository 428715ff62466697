interface Point { x: number }
function inner(point: Point | null): number {
    return point!.x;
}
inner(null);
