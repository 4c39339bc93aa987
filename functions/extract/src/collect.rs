//! What was found so far: every observable once, with its places, within the limits of an incident.

use std::{
    collections::{HashMap, HashSet, hash_map::Entry},
    hash::{DefaultHasher, Hash, Hasher},
};

use ioc::{Hashes, Observable, ObservableType};
use playbook::{
    IncidentId,
    guard::Guard,
    incident::{Extraction, Omission, Sighted, Withheld},
    manifest::Tlp,
};

use crate::limits;

/// Collects observables, participants and omissions of one incident.
#[derive(Debug)]
pub struct Collector<'a> {
    guard: Guard<'a>,
    held: HashMap<Observable, Held>,
    places: Vec<String>,
    place_numbers: HashMap<String, usize>,
    /// How many were first seen in a place: those to be looked up, and those withheld.
    first_seen: HashMap<(usize, bool), usize>,
    /// Hashes of what a place had too much of, so that it is counted once.
    dropped: HashSet<u64>,
    /// SHA-256 of attachments by each of their digests.
    attachments: HashMap<String, Hashes>,
    subject: String,
    tlp: Tlp,
    was_allowed: Option<bool>,
    /// In the order of their coming.
    participants: HashMap<String, usize>,
    omissions: Vec<Omission>,
    incomplete: bool,
    unspelled_omissions: usize,
}

#[derive(Debug)]
struct Held {
    withheld: Option<Withheld>,
    places: Vec<usize>,
    /// How many its first place had before it, then the place: so that no place can crowd out the others.
    rank: (usize, usize),
}

impl<'a> Collector<'a> {
    /// Nothing found yet; the guard says what is withheld.
    pub fn new(guard: Guard<'a>) -> Self {
        Self {
            guard,
            held: HashMap::new(),
            places: vec![],
            place_numbers: HashMap::new(),
            first_seen: HashMap::new(),
            dropped: HashSet::new(),
            attachments: HashMap::new(),
            subject: String::new(),
            tlp: Tlp::default(),
            was_allowed: None,
            participants: HashMap::new(),
            omissions: vec![],
            incomplete: false,
            unspelled_omissions: 0,
        }
    }

    /// Notes an observable and its host.
    pub fn add_with_host(&mut self, observable: Observable, place: &str) {
        if let Some(host) = observable.host() {
            self.add(host, place);
        }
        self.add(observable, place);
    }

    /// Notes an observable.
    pub fn add(&mut self, observable: Observable, place: &str) {
        if observable.value().len() > limits::URL_BYTES {
            self.lose(place, format!("a {} of {} bytes", observable.kind(), observable.value().len()));
            return;
        }
        let place = self.number(place);
        match self.held.entry(observable) {
            Entry::Occupied(mut entry) => note(&mut entry.get_mut().places, place),
            Entry::Vacant(entry) => {
                let digest = digest(entry.key());
                // A place that has filled the incident alone is only counted on: asking the guard is not free.
                if self.first_seen.get(&(place, false)).is_some_and(|seen| *seen >= limits::OBSERVABLES) {
                    self.dropped.insert(digest);
                    return;
                }
                let withheld = self.guard.check(entry.key()).map(|guarded| guarded.withheld);
                let seen = self.first_seen.entry((place, withheld.is_some())).or_default();
                if *seen >= limits::OBSERVABLES {
                    self.dropped.insert(digest);
                    return;
                }
                let rank = (*seen, place);
                *seen += 1;
                self.dropped.remove(&digest);
                entry.insert(Held { withheld, places: vec![place], rank });
            }
        }
    }

    /// Notes an observable only if nobody will be asked about it.
    pub fn add_if_withheld(&mut self, observable: Observable, place: &str) {
        if self.guard.check(&observable).is_some() {
            self.add(observable, place);
        }
    }

    /// Notes everything that a text holds.
    pub fn add_text(&mut self, text: &str, place: &str) {
        for observable in ioc::extract(text) {
            self.add(observable, place);
        }
    }

    /// Notes an attached file under all its digests.
    pub fn add_attachment(&mut self, hashes: &Hashes, place: &str) {
        let Some(file) = Observable::file(hashes.clone()) else { return };
        for digest in [&hashes.md5, &hashes.sha1, &hashes.sha256].into_iter().flatten() {
            self.attachments.insert(digest.clone(), hashes.clone());
        }
        self.add(file, place);
    }

    /// Notes somebody who sent or received.
    pub fn add_participant(&mut self, address: &str) {
        let address = match Observable::parse(ObservableType::EmailAddr, address.trim()) {
            Ok(parsed) => parsed.value().to_lowercase(),
            Err(_) => address.trim().to_lowercase(),
        };
        let is_address = address.contains('@')
            && address.len() <= 320
            && !address.chars().any(|c| c.is_control() || c.is_whitespace());
        if is_address {
            let number = self.participants.len();
            self.participants.entry(address).or_insert(number);
        }
    }

    /// The subject of the outermost mail.
    pub fn set_subject(&mut self, subject: &str) {
        self.subject = subject.chars().take(limits::NAME_CHARS).collect();
    }

    /// Notes how the incident may be shared.
    pub fn set_tlp(&mut self, tlp: Tlp) {
        self.tlp = tlp;
    }

    /// Notes whether the traffic went through.
    pub fn set_was_allowed(&mut self, was_allowed: Option<bool>) {
        self.was_allowed = was_allowed;
    }

    /// Notes that something was left out that may hold observables.
    pub fn lose(&mut self, place: &str, reason: impl Into<String>) {
        self.incomplete = true;
        self.omit(place, reason);
    }

    /// Notes that something was left out that holds none.
    pub fn omit(&mut self, place: &str, reason: impl Into<String>) {
        let omission = Omission { place: place.to_owned(), reason: reason.into() };
        if self.omissions.len() >= limits::OMISSIONS {
            self.unspelled_omissions += 1;
        } else if !self.omissions.contains(&omission) {
            self.omissions.push(omission);
        }
    }

    /// The document: observables to be looked up first, then those that are withheld, each part sorted.
    pub fn finish(mut self, incident_id: &IncidentId) -> Extraction {
        self.merge_files();
        let mut held: Vec<(Observable, Held)> = self.held.drain().collect();
        held.sort_by(|(one, a), (other, b)| {
            (a.withheld.is_some(), a.rank, one).cmp(&(b.withheld.is_some(), b.rank, other))
        });
        let left_out = held.len().saturating_sub(limits::OBSERVABLES) + self.dropped.len();
        held.truncate(limits::OBSERVABLES);
        held.sort_by(|(one, a), (other, b)| (a.withheld.is_some(), one).cmp(&(b.withheld.is_some(), other)));
        if left_out > 0 {
            self.lose("observables", format!("{left_out} more were found, the limit is {}", limits::OBSERVABLES));
        }
        let participants = self.known_participants();
        if self.unspelled_omissions > 0 {
            let reason = format!("{} more were left out", self.unspelled_omissions);
            self.omissions.push(Omission { place: "omissions".to_owned(), reason });
        }
        let places = self.places;
        let observables = held.into_iter().map(|(observable, held)| Sighted {
            observable,
            places: held.places.iter().filter_map(|number| places.get(*number).cloned()).collect(),
            withheld: held.withheld,
        });
        Extraction {
            schema: Extraction::SCHEMA.to_owned(),
            incident_id: incident_id.clone(),
            subject: self.subject,
            participants,
            tlp: self.tlp,
            was_allowed: self.was_allowed,
            observables: observables.collect(),
            omissions: self.omissions,
            incomplete: self.incomplete,
        }
    }

    /// A digest in a text that is an attachment's is that attachment.
    fn merge_files(&mut self) {
        let mentioned: Vec<(Observable, Observable)> = self
            .held
            .keys()
            .filter_map(|found| {
                let hashes = self.attachments.get(found.value())?;
                let file = Observable::file(hashes.clone())?;
                (file != *found).then(|| (found.clone(), file))
            })
            .collect();
        for (mention, file) in mentioned {
            let Some(mention) = self.held.remove(&mention) else { continue };
            if let Some(held) = self.held.get_mut(&file) {
                held.rank = held.rank.min(mention.rank);
                for place in mention.places {
                    note(&mut held.places, place);
                }
            }
        }
    }

    /// Our own people first: a hundred invented recipients must not hide an approver.
    fn known_participants(&mut self) -> Vec<String> {
        let mut numbered: Vec<(String, usize)> = self.participants.drain().collect();
        numbered.sort_by_cached_key(|(address, number)| (!self.is_own(address), *number));
        let mut participants: Vec<String> = numbered.into_iter().map(|(address, _)| address).collect();
        let left_out = participants.len().saturating_sub(limits::PARTICIPANTS);
        if left_out > 0 {
            participants.truncate(limits::PARTICIPANTS);
            self.omit("participants", format!("{left_out} more addresses, the limit is {}", limits::PARTICIPANTS));
        }
        participants.sort_unstable();
        participants
    }

    fn is_own(&self, address: &str) -> bool {
        Observable::parse(ObservableType::EmailAddr, address)
            .ok()
            .and_then(|address| self.guard.check(&address))
            .is_some_and(|guarded| guarded.withheld == Withheld::Own)
    }

    fn number(&mut self, place: &str) -> usize {
        if let Some(number) = self.place_numbers.get(place) {
            return *number;
        }
        let number = self.places.len();
        self.places.push(place.to_owned());
        self.place_numbers.insert(place.to_owned(), number);
        number
    }
}

fn note(places: &mut Vec<usize>, place: usize) {
    if places.len() < limits::PLACES && !places.contains(&place) {
        places.push(place);
    }
}

fn digest(observable: &Observable) -> u64 {
    let mut hasher = DefaultHasher::new();
    observable.hash(&mut hasher);
    hasher.finish()
}
