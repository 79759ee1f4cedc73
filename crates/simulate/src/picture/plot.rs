//! A plot over time: marks at its left, series with their names at its right.
//!
//! Texts and dots keep their size in every window, because their places are percents of the width;
//! only the paths are stretched.

use std::fmt::Write;

use super::{
    axis::{self, Mark},
    points::{HEIGHT, Scale, WIDTH},
    text::escaped,
};

/// The room above and below the scale, in pixels, so that texts at its ends are whole.
pub(super) const MARGIN: f64 = 8.0;
/// The distance of two names at the right, in pixels.
const LINE: f64 = 14.0;

/// A series of a plot.
pub(super) struct Series {
    /// The name at its end.
    pub(super) name: &'static str,
    /// The class, which decides on its colour.
    pub(super) class: &'static str,
    /// Its path.
    pub(super) path: String,
    /// True if the area below it is filled.
    pub(super) is_area: bool,
    /// The share of the height at which it ends, from the top; `None` if it has no point.
    pub(super) ends_at: Option<f64>,
}

/// A plot.
pub(super) struct Plot<'a> {
    /// The heading.
    pub(super) title: &'a str,
    /// A sentence with its most important numbers, for those who do not see it.
    pub(super) summary: String,
    /// The height of the scale in pixels.
    pub(super) height: f64,
    pub(super) scale: Scale,
    pub(super) marks: Vec<Mark>,
    pub(super) series: Vec<Series>,
    /// The elements above the series.
    pub(super) overlay: String,
}

impl Plot<'_> {
    /// Returns the plot as HTML.
    pub(super) fn html(&self) -> String {
        let Self { title, summary, height, overlay, .. } = self;
        let outer = height + 2.0 * MARGIN;
        let (title, summary) = (escaped(title), escaped(summary));
        format!(
            "<div class=\"plot\"><h3>{title}</h3>\
             <svg class=\"marks\" height=\"{outer}\" aria-hidden=\"true\">{}</svg>\
             <div class=\"area\"><svg class=\"lines\" height=\"{outer}\" role=\"img\" \
             aria-label=\"{title}: {summary}\">{}<svg y=\"{MARGIN}\" width=\"100%\" \
             height=\"{height}\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" preserveAspectRatio=\"none\" \
             overflow=\"visible\">{}</svg></svg>{overlay}</div>\
             <svg class=\"names\" height=\"{outer}\" aria-hidden=\"true\">{}</svg></div>\n",
            self.marks_html(),
            self.grid(),
            self.paths(),
            self.names(),
        )
    }

    /// Returns the pixels from the top at a value.
    fn y(&self, value: f64) -> f64 {
        MARGIN + self.scale.down(value) * self.height
    }

    fn marks_html(&self) -> String {
        let mut html = String::new();
        for (value, text) in &self.marks {
            let y = self.y(*value) + 4.0;
            // Writing to a String cannot fail.
            let _ = write!(html, "<text x=\"100%\" y=\"{y:.1}\">{text}</text>");
        }
        html
    }

    fn grid(&self) -> String {
        let mut html = String::new();
        for (value, _) in &self.marks {
            let y = self.y(*value);
            let _ = write!(html, "<line x2=\"100%\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>");
        }
        html
    }

    fn paths(&self) -> String {
        let mut html = String::new();
        for series in &self.series {
            let Series { class, path, is_area, .. } = series;
            if *is_area {
                let area = Scale::below(path);
                let _ = write!(html, "<path class=\"fill {class}\" d=\"{area}\"/>");
            }
            let _ = write!(html, "<path class=\"{class}\" d=\"{path}\"/>");
        }
        html
    }

    fn names(&self) -> String {
        let named = self.series.iter().filter_map(|series| Some((series, series.ends_at?)));
        let named: Vec<(&Series, f64)> =
            named.map(|(series, share)| (series, MARGIN + share * self.height)).collect();
        let places: Vec<f64> = named.iter().map(|(_, y)| *y).collect();
        let places = apart(&places, LINE, MARGIN, MARGIN + self.height);
        let mut html = String::new();
        for ((series, _), y) in named.iter().zip(places) {
            let (class, name) = (series.class, series.name);
            let y = y + 4.0;
            let _ = write!(html, "<text class=\"{class}\" y=\"{y:.1}\">{name}</text>");
        }
        html
    }
}

/// Returns the axis of time, which is below the last plot.
pub(super) fn time_axis(end: f64) -> String {
    let mut html =
        String::from("<div class=\"plot time\"><svg height=\"22\" aria-hidden=\"true\">");
    let marks = axis::times(end);
    for (index, (t, text)) in marks.iter().enumerate() {
        let x = 100.0 * t / end.max(1.0);
        let mut class = if index % 2 == 1 { "odd" } else { "even" }.to_owned();
        if index == 0 {
            class.push_str(" first");
        }
        if x > 94.0 {
            class.push_str(" last");
        }
        let _ = write!(html, "<text class=\"{class}\" x=\"{x:.2}%\" y=\"15\">{text}</text>");
    }
    html + "</svg></div>\n"
}

/// Returns places that are at least so far apart, as near to the wanted ones as their order allows,
/// and within two limits if there is room.
fn apart(wanted: &[f64], distance: f64, low: f64, high: f64) -> Vec<f64> {
    let mut order: Vec<usize> = (0..wanted.len()).collect();
    order.sort_by(|a, b| wanted[*a].total_cmp(&wanted[*b]));
    let mut places = wanted.to_vec();
    let mut lowest = low;
    for place in &order {
        places[*place] = places[*place].max(lowest);
        lowest = places[*place] + distance;
    }
    let mut highest = high.max(low + distance * (wanted.len().saturating_sub(1)) as f64);
    for place in order.iter().rev() {
        places[*place] = places[*place].min(highest);
        highest = places[*place] - distance;
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_apart_and_in_order() {
        for (wanted, expected) in [
            (&[][..], &[][..]),
            (&[50.0], &[50.0]),
            (&[50.0, 50.0], &[50.0, 64.0]),
            (&[95.0, 99.0, 20.0], &[86.0, 100.0, 20.0]),
            (&[0.0, 100.0], &[10.0, 100.0]),
            (&[100.0, 100.0, 100.0], &[72.0, 86.0, 100.0]),
        ] {
            assert_eq!(apart(wanted, 14.0, 10.0, 100.0), expected, "{wanted:?}");
        }
        let crowded = apart(&[5.0; 10], 14.0, 10.0, 100.0);
        assert!(crowded.windows(2).all(|pair| pair[1] - pair[0] >= 14.0), "{crowded:?}");
    }

    #[test]
    fn the_axis_of_time_is_within_its_plot() {
        let html = time_axis(900.0);
        assert!(html.contains("<text class=\"even first\" x=\"0.00%\" y=\"15\">0 min</text>"));
        assert!(html.contains("x=\"93.33%\" y=\"15\">14 min"), "{html}");
        assert!(
            time_axis(600.0).contains("class=\"odd last\"")
                || time_axis(600.0).contains("class=\"even last\"")
        );
    }
}
