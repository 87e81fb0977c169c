//! Whether somebody is to be told of something. Pure: what is so, what was told last and the time in, the decision out.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::Event;

/// One thing that a hook can be told of, as it is at this moment.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Standing {
    pub(crate) event: Event,
    /// What it is about; two things of one event never have the same.
    pub(crate) subject: String,
    pub(crate) reading: Reading,
    /// One sentence.
    pub(crate) text: String,
    /// What to do about it.
    pub(crate) next: String,
    /// The same in figures.
    pub(crate) facts: Map<String, Value>,
}

/// What can change about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reading {
    /// A word, and since when it is that one. Told when it is another; the first one that is ever seen is not news.
    Word { word: String, since: Timestamp },
    /// Something may have changed; that is told when it is certain.
    Unclear,
    /// A moment. Told when it is another; none is not told.
    Moment(Option<Timestamp>),
    /// How many. Told when there are more than were told of, though not again within `pause`; none at all is a new
    /// beginning.
    Count { number: u64, pause: SignedDuration },
}

/// What somebody was told last of a subject.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mark {
    /// The word or moment.
    word: String,
    /// The number.
    number: u64,
    /// How often something was told.
    told: u64,
    /// When that was last.
    at: Option<Timestamp>,
}

/// What follows.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Judgement {
    /// All was told.
    Nothing,
    /// Nobody needs to hear it, but it is where the next comparison begins.
    Note(Mark),
    /// Tell this, then keep the mark. The id is the same until that is done.
    Tell { body: Map<String, Value>, mark: Mark },
}

impl Standing {
    /// Under which name its mark is kept.
    pub(crate) fn name(&self) -> String {
        format!("{}/{}", self.event, self.subject)
    }

    pub(crate) fn judge(&self, hook: &str, mark: Option<&Mark>, now: Timestamp) -> Judgement {
        let known = mark.cloned().unwrap_or_default();
        match &self.reading {
            Reading::Unclear => Judgement::Nothing,
            Reading::Word { word, .. } if mark.is_none() => {
                Judgement::Note(Mark { word: word.clone(), ..known })
            }
            Reading::Word { word, .. } if *word == known.word => Judgement::Nothing,
            Reading::Word { word, since } => {
                let mut body = self.body(hook, &format!("{word}@{since}"), now);
                body.insert("was".into(), json!(known.word));
                self.tell(body, Mark { word: word.clone(), ..known }, now)
            }
            Reading::Moment(None) => Judgement::Nothing,
            Reading::Moment(Some(moment)) if moment.to_string() == known.word => Judgement::Nothing,
            Reading::Moment(Some(moment)) => {
                let body = self.body(hook, &moment.to_string(), now);
                self.tell(body, Mark { word: moment.to_string(), ..known }, now)
            }
            Reading::Count { number: 0, .. } if known.number == 0 => Judgement::Nothing,
            Reading::Count { number: 0, .. } => Judgement::Note(Mark { number: 0, ..known }),
            Reading::Count { number, .. } if *number <= known.number => Judgement::Nothing,
            Reading::Count { number, pause } => {
                // A clock that was set back silences nobody.
                let just = known.at.is_some_and(|at| at <= now && now.duration_since(at) < *pause);
                if just && known.number > 0 {
                    return Judgement::Nothing;
                }
                let body = self.body(hook, &format!("{}/{number}", known.told), now);
                self.tell(body, Mark { number: *number, ..known }, now)
            }
        }
    }

    fn tell(&self, body: Map<String, Value>, mark: Mark, now: Timestamp) -> Judgement {
        Judgement::Tell { body, mark: Mark { told: mark.told + 1, at: Some(now), ..mark } }
    }

    fn body(&self, hook: &str, version: &str, now: Timestamp) -> Map<String, Value> {
        let mut body = self.facts.clone();
        body.insert("id".into(), json!(format!("{}/{version}", self.name())));
        body.insert("event".into(), json!(self.event));
        body.insert("hook".into(), json!(hook));
        body.insert("at".into(), json!(now));
        body.insert("text".into(), json!(self.text));
        body.insert("next".into(), json!(self.next));
        body
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn standing(reading: Reading) -> Standing {
        let (subject, text, next) = ("x".into(), String::new(), String::new());
        Standing { event: Event::GateOpen, subject, reading, text, next, facts: Map::new() }
    }

    /// What one receiver hears of these readings, each a second after the other: the ids.
    fn heard(readings: &[Reading]) -> Vec<String> {
        let mut mark: Option<Mark> = None;
        let mut heard = Vec::new();
        for (second, reading) in (0..).zip(readings) {
            match standing(reading.clone()).judge("h", mark.as_ref(), at(second)) {
                Judgement::Nothing => {}
                Judgement::Note(noted) => mark = Some(noted),
                Judgement::Tell { body, mark: told } => {
                    heard.push(body["id"].as_str().unwrap().trim_start_matches("gate-open/x/").to_owned());
                    mark = Some(told);
                }
            }
        }
        heard
    }

    fn count(number: u64) -> Reading {
        Reading::Count { number, pause: SignedDuration::from_secs(3) }
    }

    #[test]
    fn a_word_is_told_when_it_is_another_one() {
        let word = |word: &str, second| Reading::Word { word: word.into(), since: at(second) };
        let told =
            heard(&[word("a", 0), Reading::Unclear, word("a", 0), word("b", 2), word("b", 2), word("a", 4)]);
        assert_eq!(told, ["b@1970-01-01T00:00:02Z", "a@1970-01-01T00:00:04Z"]);
    }

    #[test]
    fn a_moment_is_told_once_though_it_is_gone_for_a_while() {
        let moment = |second: i64| Reading::Moment(Some(at(second)));
        let told = heard(&[Reading::Moment(None), moment(5), Reading::Moment(None), moment(5), moment(9)]);
        assert_eq!(told, ["1970-01-01T00:00:05Z", "1970-01-01T00:00:09Z"]);
    }

    #[test]
    fn a_number_is_told_when_it_grows_and_again_from_nothing() {
        assert_eq!(heard(&[count(0), count(1), count(1), count(0), count(1)]), ["0/1", "1/1"]);
        // Growth soon after is told later, at once what it has become.
        assert_eq!(heard(&[1, 2, 3, 5, 5].map(count)), ["0/1", "1/5"]);
        assert_eq!(heard(&[5, 4, 4, 4, 5].map(count)), ["0/5"], "up and down is not told each time");
    }

    #[test]
    fn until_it_is_marked_it_has_the_same_id() {
        let id = |second| match standing(count(1)).judge("h", None, at(second)) {
            Judgement::Tell { body, .. } => body["id"].clone(),
            other => panic!("{other:?}"),
        };
        assert_eq!(id(1), id(1_000));
    }

    #[test]
    fn a_clock_that_was_set_back_silences_nobody() {
        let mark = Mark { number: 1, told: 1, at: Some(at(1_000_000)), ..Mark::default() };
        assert!(matches!(standing(count(2)).judge("h", Some(&mark), at(5)), Judgement::Tell { .. }));
    }
}
