//! Curves on two logarithmic axes, as SVG.

use std::fmt::Write;

/// One way of starting programs.
pub(crate) struct Curve {
    pub(crate) name: &'static str,
    pub(crate) colour: &'static str,
    /// Programs a second.
    pub(crate) capacity: f64,
    pub(crate) points: Vec<Point>,
}

/// Latencies in milliseconds at so many arrivals a second.
pub(crate) struct Point {
    pub(crate) rate: f64,
    pub(crate) p50: f64,
    pub(crate) p95: f64,
}

const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 560.0;
const LEFT: f64 = 76.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 92.0;
const BOTTOM: f64 = 86.0;

/// From values to pixels.
struct Axis {
    least: f64,
    most: f64,
    from: f64,
    to: f64,
}

impl Axis {
    /// Room for these, ending at ticks.
    fn over(values: impl Iterator<Item = f64> + Clone, from: f64, to: f64) -> Self {
        let least = values.clone().fold(f64::INFINITY, f64::min);
        let most = values.fold(0.0, f64::max);
        let least = ticks().take_while(|tick| *tick <= least).last().unwrap_or(least);
        let most = ticks().find(|tick| *tick >= most).unwrap_or(most);
        Self { least, most, from, to }
    }

    fn at(&self, value: f64) -> f64 {
        let part = (value / self.least).ln() / (self.most / self.least).ln();
        self.from + part * (self.to - self.from)
    }

    fn ticks(&self) -> impl Iterator<Item = f64> {
        let (least, most) = (self.least, self.most);
        ticks().filter(move |tick| (least..=most).contains(tick))
    }
}

/// 1, 2 and 5 times each power of ten.
fn ticks() -> impl Iterator<Item = f64> {
    (-3..7).flat_map(|power| [1.0, 2.0, 5.0].map(|step| step * 10f64.powi(power)))
}

pub(crate) fn draw(curves: &[Curve], caption: &str) -> String {
    let points = || curves.iter().flat_map(|curve| &curve.points);
    let x = Axis::over(points().map(|point| point.rate), LEFT, WIDTH - RIGHT);
    let y = Axis::over(points().flat_map(|point| [point.p50, point.p95]), HEIGHT - BOTTOM, TOP);
    let mut svg = Svg(String::new());
    svg.open();
    for tick in y.ticks() {
        svg.line("#e3e3e3", "", (x.from, y.at(tick)), (x.to, y.at(tick)));
        svg.text((x.from - 8.0, y.at(tick) + 4.0), "end", 13, "#444", &label(tick));
    }
    for tick in x.ticks() {
        svg.line("#e3e3e3", "", (x.at(tick), y.from), (x.at(tick), y.to));
        svg.text((x.at(tick), y.from + 19.0), "middle", 13, "#444", &label(tick));
    }
    svg.line("#444", "", (x.from, y.from), (x.to, y.from));
    svg.line("#444", "", (x.from, y.from), (x.from, y.to));
    for curve in curves {
        let at = x.at(curve.capacity);
        svg.line(curve.colour, "2 5", (at, y.from), (at, y.to));
    }
    for curve in curves {
        let line = |of: fn(&Point) -> f64| -> Vec<_> {
            curve.points.iter().map(|point| (x.at(point.rate), y.at(of(point)))).collect()
        };
        svg.curve(curve.colour, "5 4", 1.6, &line(|point| point.p95));
        let medians = line(|point| point.p50);
        svg.curve(curve.colour, "", 2.6, &medians);
        medians.iter().for_each(|at| svg.dot(curve.colour, *at));
    }
    svg.text((LEFT, 26.0), "start", 18, "#111", "From a program's arrival to its end");
    svg.text((LEFT, 47.0), "start", 13, "#444", "milliseconds; solid: median, dashed: 95th percentile");
    svg.legend(curves, 70.0);
    svg.text(((x.from + x.to) / 2.0, HEIGHT - 42.0), "middle", 14, "#111", "programs arriving a second");
    svg.text((LEFT, HEIGHT - 14.0), "start", 11, "#666", caption);
    svg.0.push_str("</svg>\n");
    svg.0
}

fn label(value: f64) -> String {
    if value >= 1000.0 { format!("{},000", value / 1000.0) } else { format!("{value}") }
}

struct Svg(String);

impl Svg {
    fn open(&mut self) {
        self.add(format_args!(
            r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" font-family="Helvetica, Arial, sans-serif">
<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>"#
        ));
    }

    fn line(&mut self, colour: &str, dashes: &str, from: (f64, f64), to: (f64, f64)) {
        self.curve(colour, dashes, 1.0, &[from, to]);
    }

    fn curve(&mut self, colour: &str, dashes: &str, width: f64, points: &[(f64, f64)]) {
        let points: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        self.add(format_args!(
            r#"<polyline points="{}" fill="none" stroke="{colour}" stroke-width="{width}" stroke-dasharray="{dashes}" stroke-linejoin="round"/>"#,
            points.join(" ")
        ));
    }

    fn dot(&mut self, colour: &str, (x, y): (f64, f64)) {
        self.add(format_args!(r#"<circle cx="{x:.1}" cy="{y:.1}" r="3.2" fill="{colour}"/>"#));
    }

    fn text(&mut self, (x, y): (f64, f64), anchor: &str, size: u32, colour: &str, text: &str) {
        let text = text.replace('&', "&amp;").replace('<', "&lt;");
        self.add(format_args!(
            r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}" font-size="{size}" fill="{colour}">{text}</text>"#
        ));
    }

    /// In a row, each with what it bears.
    fn legend(&mut self, curves: &[Curve], y: f64) {
        let each = (WIDTH - LEFT - RIGHT) / curves.len() as f64;
        for (index, curve) in curves.iter().enumerate() {
            let x = LEFT + each * index as f64;
            self.curve(curve.colour, "", 2.6, &[(x, y), (x + 22.0, y)]);
            self.dot(curve.colour, (x + 11.0, y));
            self.text((x + 28.0, y + 4.0), "start", 13, "#111", curve.name);
        }
    }

    fn add(&mut self, what: std::fmt::Arguments<'_>) {
        // To a string it never fails.
        writeln!(self.0, "{what}").unwrap_or_default();
    }
}
