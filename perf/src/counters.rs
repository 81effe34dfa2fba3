//! What the daemon and the kernel count: its metrics, and its processor time.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// Reactors show their counters every 2 ms while they work.
const LAG: Duration = Duration::from_millis(50);

/// A scrape: values by name and labels, as Prometheus' text has them.
#[derive(Debug)]
pub(crate) struct Counters(BTreeMap<String, f64>);

impl Counters {
    /// What the daemon counts now.
    pub(crate) fn scrape(admin: &Path) -> anyhow::Result<Self> {
        std::thread::sleep(LAG);
        let text = crate::operator::ask(admin, "GET", "/metrics", "")?;
        Ok(Self::parse(&text))
    }

    fn parse(text: &str) -> Self {
        let values = text.lines().filter(|line| line.starts_with("holdfast_")).filter_map(|line| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        });
        Self(values.collect())
    }

    /// The sum over all series of a name whose labels contain all of `labels`.
    pub(crate) fn sum(&self, name: &str, labels: &[&str]) -> f64 {
        let of_name = |key: &str| key.split('{').next() == Some(name);
        let all =
            self.0.iter().filter(|(key, _)| of_name(key) && labels.iter().all(|label| key.contains(label)));
        all.map(|(_, value)| value).sum()
    }
}

/// Seconds of processor time that a process has used.
pub(crate) fn processor_s(pid: u32) -> anyhow::Result<f64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The second field is the name in parentheses, which may hold spaces.
    let after_name = text.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks: u64 =
        after_name.split_whitespace().skip(11).take(2).filter_map(|word| word.parse::<u64>().ok()).sum();
    let per_second = rustix::param::clock_ticks_per_second();
    #[expect(clippy::cast_precision_loss, reason = "hours in hundredths of a second")]
    Ok(ticks as f64 / per_second as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_are_summed_by_name_and_labels() {
        let text = "HTTP/1.1 200 OK\r\n\r\n# HELP holdfast_a b\nholdfast_a_total{volume=\"v\",operation=\"flush\"} 3\n\
                    holdfast_a_total{volume=\"w\",operation=\"flush\"} 4\nholdfast_a_total_more 9\n";
        let counters = Counters::parse(text);
        assert_eq!(counters.sum("holdfast_a_total", &["operation=\"flush\""]), 7.0);
        assert_eq!(counters.sum("holdfast_a_total", &["volume=\"v\""]), 3.0);
        assert_eq!(counters.sum("holdfast_none", &[]), 0.0);
    }

    #[test]
    fn a_process_that_works_uses_time() {
        let before = processor_s(std::process::id()).unwrap();
        let mut sum = 0u64;
        while processor_s(std::process::id()).unwrap() <= before {
            (0..100_000u64).for_each(|number| sum = std::hint::black_box(sum ^ number));
        }
    }
}
