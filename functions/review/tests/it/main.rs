//! The page from outside: what people, scanners and attackers can and cannot do with it.

mod attack;
mod hostile;
mod person;
mod scanner;
mod world;
