from dataclasses import asdict, dataclass, field
@dataclass(order=True, frozen=True)
class Point:
    x: int
    y: list = field(default_factory=list)
print(Point(1), asdict(Point(1, [2])), Point(1) < Point(2))
Point(1).x = 3
