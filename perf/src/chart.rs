//! A report's charts, as SVG text.

use plotters::coord::Shift;
use plotters::prelude::*;

use crate::outcome::{Contender, ContenderOutcome, RoundOutcome};
use crate::statistics::Repeats;

/// Of every chart, in pixels.
const SIZE: (u32, u32) = (520, 280);
const FONT: &str = "sans-serif";

type Svg<'text> = DrawingArea<SVGBackend<'text>, Shift>;

/// Of a contender in every chart: colours that those who see no red and green can tell apart (Okabe and Ito).
fn color(contender: Contender) -> RGBColor {
    match contender {
        Contender::Holdfast => RGBColor(0, 114, 178),
        Contender::Floor => RGBColor(80, 80, 80),
        Contender::PageCache => RGBColor(230, 159, 0),
        Contender::Direct => RGBColor(204, 121, 167),
        Contender::Undisturbed => RGBColor(0, 158, 115),
        Contender::HoldfastNbd => RGBColor(86, 180, 233),
        Contender::Nbdkit => RGBColor(213, 94, 0),
        Contender::QemuStorageDaemon => RGBColor(240, 228, 66),
        // Never in one chart with the floor's grey, of which they are a lighter and a darker one.
        Contender::HoldfastVhost => RGBColor(0, 60, 100),
        Contender::QemuStorageDaemonVhost => RGBColor(170, 150, 0),
    }
}

fn svg(draw: impl FnOnce(&Svg<'_>) -> anyhow::Result<()>) -> anyhow::Result<String> {
    let mut text = String::new();
    {
        let area = SVGBackend::with_string(&mut text, SIZE).into_drawing_area();
        area.fill(&WHITE)?;
        draw(&area)?;
        area.present()?;
    }
    Ok(text)
}

/// A column for each contender, from 0 to the median, with a line from the least to the most; and a line at 1, the
/// other's own figure, if the figures are ratios.
///
/// # Errors
/// None is known.
pub fn columns(title: &str, figures: &[(Contender, &Repeats)], ratios: bool) -> anyhow::Result<String> {
    svg(|area| {
        let most =
            figures.iter().map(|(_, figure)| figure.max).fold(if ratios { 1.0 } else { 0.0 }, f64::max);
        let count = i32::try_from(figures.len())?;
        let mut chart = ChartBuilder::on(area)
            .caption(title, (FONT, 15))
            .margin(8)
            .margin_right(20)
            .x_label_area_size(24)
            .y_label_area_size(56)
            .build_cartesian_2d((0..count - 1).into_segmented(), 0.0..most * 1.05)?;
        let name = |place: &SegmentValue<i32>| match place {
            SegmentValue::CenterOf(place) => {
                let figure = usize::try_from(*place).ok().and_then(|place| figures.get(place));
                figure.map_or(String::new(), |(contender, _)| contender.name().to_owned())
            }
            _ => String::new(),
        };
        chart
            .configure_mesh()
            .disable_x_mesh()
            .x_labels(figures.len())
            .x_label_formatter(&name)
            .y_label_formatter(&|figure| short(*figure))
            .draw()?;
        for (place, (contender, figure)) in (0..).zip(figures) {
            let (left, right) = (SegmentValue::Exact(place), SegmentValue::Exact(place + 1));
            let mut column =
                Rectangle::new([(left, 0.0), (right, figure.median)], color(*contender).filled());
            column.set_margin(0, 0, 24, 24);
            chart.draw_series([column])?;
            let middle = |y| (SegmentValue::CenterOf(place), y);
            chart.draw_series([PathElement::new(
                [middle(figure.min), middle(figure.max)],
                BLACK.stroke_width(2),
            )])?;
        }
        if ratios {
            let ends = [(SegmentValue::Exact(0), 1.0), (SegmentValue::Exact(count), 1.0)];
            chart.draw_series([PathElement::new(ends, BLACK.stroke_width(1))])?;
        }
        Ok(())
    })
}

/// Times over percentiles, of the round in the middle of each contender.
///
/// # Errors
/// None is known.
pub fn percentiles(title: &str, contenders: &[ContenderOutcome]) -> anyhow::Result<String> {
    const NAMES: [&str; 5] = ["p50", "p90", "p99", "p99.9", "p99.99"];
    let lines: Vec<_> = contenders.iter().map(|one| (one.contender, times(middle(&one.rounds)))).collect();
    let all = || lines.iter().flat_map(|(_, times)| times.iter().copied());
    let (least, most) = (all().fold(f64::MAX, f64::min), all().fold(1.0, f64::max));
    svg(|area| {
        let mut chart = ChartBuilder::on(area)
            .caption(title, (FONT, 15))
            .margin(8)
            .margin_right(20)
            .x_label_area_size(24)
            .y_label_area_size(56)
            .build_cartesian_2d(0..4i32, (least * 0.8..most * 1.3).log_scale())?;
        chart
            .configure_mesh()
            .x_labels(NAMES.len())
            .x_label_formatter(&|place| {
                usize::try_from(*place)
                    .ok()
                    .and_then(|at| NAMES.get(at))
                    .copied()
                    .unwrap_or_default()
                    .to_owned()
            })
            .y_label_formatter(&|ns| time(*ns))
            .draw()?;
        for (contender, times) in &lines {
            let color = color(*contender);
            chart
                .draw_series(LineSeries::new((0..).zip(times.iter().copied()), color.stroke_width(2)))?
                .label(contender.name())
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 14, y)], color.stroke_width(2)));
        }
        legend(&mut chart)
    })
}

/// Requests a second over the time of each contender's rounds, one after the other, with a line at each moment when
/// something was done.
///
/// # Errors
/// None is known.
pub fn time_line(title: &str, contenders: &[ContenderOutcome]) -> anyhow::Result<String> {
    let lines: Vec<_> = contenders.iter().map(|one| (one.contender, joined(&one.rounds))).collect();
    let all = || lines.iter().flat_map(|(_, line)| line.iter().copied());
    let end = all().map(|(at, _)| at).fold(0.001, f64::max);
    let most = all().map(|(_, rate)| rate).fold(1.0, f64::max);
    svg(|area| {
        let mut chart = ChartBuilder::on(area)
            .caption(title, (FONT, 15))
            .margin(8)
            .margin_right(20)
            .x_label_area_size(24)
            .y_label_area_size(56)
            .build_cartesian_2d(0.0..end, 0.0..most * 1.05)?;
        chart
            .configure_mesh()
            .x_label_formatter(&|seconds| format!("{seconds:.1} s"))
            .y_label_formatter(&|rate| short(*rate))
            .draw()?;
        for (contender, line) in &lines {
            let color = color(*contender);
            chart
                .draw_series(LineSeries::new(line.iter().copied(), color.stroke_width(2)))?
                .label(contender.name())
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 14, y)], color.stroke_width(2)));
        }
        for (place, (at, what)) in marks(contenders).into_iter().enumerate() {
            chart.draw_series([PathElement::new([(at, 0.0), (at, most * 1.05)], RED.stroke_width(1))])?;
            // One below the other, so that neighbours can be read.
            let height = most * [0.72, 0.64, 0.56, 0.48][place % 4];
            chart.draw_series([Text::new(what, (at, height), (FONT, 11))])?;
        }
        legend(&mut chart)
    })
}

/// The median ratio of a figure over what stands on the other axis, with a line from the least to the most.
///
/// # Errors
/// None is known.
pub fn curve(title: &str, unit: &str, figures: &[(f64, &Repeats)]) -> anyhow::Result<String> {
    let mut figures = figures.to_vec();
    figures.sort_by(|left, right| left.0.total_cmp(&right.0));
    let end = figures.iter().map(|(at, _)| *at).fold(0.001, f64::max);
    let most = figures.iter().map(|(_, ratio)| ratio.max).fold(1.0, f64::max);
    let color = color(Contender::Holdfast);
    svg(|area| {
        let mut chart = ChartBuilder::on(area)
            .caption(title, (FONT, 15))
            .margin(8)
            .margin_right(20)
            .x_label_area_size(36)
            .y_label_area_size(56)
            .build_cartesian_2d(0.0..end * 1.05, 0.0..most * 1.05)?;
        chart.configure_mesh().x_desc(unit).y_label_formatter(&|ratio| short(*ratio)).draw()?;
        chart.draw_series(LineSeries::new(
            figures.iter().map(|(at, ratio)| (*at, ratio.median)),
            color.stroke_width(2),
        ))?;
        for (at, ratio) in &figures {
            chart.draw_series([PathElement::new(
                [(*at, ratio.min), (*at, ratio.max)],
                BLACK.stroke_width(2),
            )])?;
        }
        Ok(())
    })
}

/// Of all rounds, where the time line has them.
fn marks(contenders: &[ContenderOutcome]) -> Vec<(f64, String)> {
    let mut marks = Vec::new();
    for one in contenders {
        for (began, round) in begun(&one.rounds) {
            // What ends after its round would stand in the next one's part.
            let end = round.timeline.last().map_or(0.0, |(at, _)| *at);
            let inside = round.marks.iter().filter(|mark| mark.at_s <= end);
            marks.extend(inside.map(|mark| (began + mark.at_s, mark.what.clone())));
        }
    }
    marks
}

fn legend<'a, 'text: 'a, C: CoordTranslate>(
    chart: &mut ChartContext<'a, SVGBackend<'text>, C>,
) -> anyhow::Result<()> {
    let labels = &mut chart.configure_series_labels();
    labels.position(SeriesLabelPosition::UpperLeft).background_style(WHITE.mix(0.8)).border_style(BLACK);
    labels.draw()?;
    Ok(())
}

/// The round whose median time is in the middle.
fn middle(rounds: &[RoundOutcome]) -> &RoundOutcome {
    let mut sorted: Vec<_> = rounds.iter().collect();
    sorted.sort_by_key(|round| round.p50_ns);
    sorted[sorted.len() / 2]
}

#[expect(clippy::cast_precision_loss, reason = "ns of at most a minute")]
fn times(round: &RoundOutcome) -> [f64; 5] {
    [round.p50_ns, round.p90_ns, round.p99_ns, round.p99_9_ns, round.p99_99_ns].map(|ns| ns.max(1) as f64)
}

fn joined(rounds: &[RoundOutcome]) -> Vec<(f64, f64)> {
    let points = |(began, round): (f64, &RoundOutcome)| {
        round.timeline.iter().map(|(at, rate)| (began + at, *rate)).collect::<Vec<_>>()
    };
    begun(rounds).flat_map(points).collect()
}

/// Rounds with the time at which each begins, if they follow each other.
fn begun(rounds: &[RoundOutcome]) -> impl Iterator<Item = (f64, &RoundOutcome)> {
    rounds.iter().scan(0.0, |next, round| {
        let began = *next;
        *next += round.timeline.last().map_or(0.0, |(at, _)| *at);
        Some((began, round))
    })
}

/// `1.2 M`, `340 K`, `0.75`.
fn short(figure: f64) -> String {
    match figure {
        _ if figure >= 1e6 => format!("{:.1} M", figure / 1e6),
        _ if figure >= 1e3 => format!("{:.0} K", figure / 1e3),
        _ => format!("{figure:.2}"),
    }
}

fn time(ns: f64) -> String {
    match ns {
        _ if ns >= 1e9 => format!("{:.0} s", ns / 1e9),
        _ if ns >= 1e6 => format!("{:.0} ms", ns / 1e6),
        _ if ns >= 1e3 => format!("{:.0} us", ns / 1e3),
        _ => format!("{ns:.0} ns"),
    }
}
