//! Values of every type, with their bounds more often than they would come.

use fastrand::Rng;

use crate::bindings::acme::values::echo::{Access, Colour, Numbers, Shape, Texts, Whole};

/// A source of values.
pub struct Any(Rng);

/// The arguments of `give-many`.
pub type Many = (bool, Numbers, Texts, Shape, Option<Option<u8>>, Access, Option<u8>);

/// A number, one time in three its least or its greatest.
macro_rules! number {
    ($any:ident, $name:ident) => {
        match $any.0.u8(0..6) {
            0 => $name::MIN,
            1 => $name::MAX,
            _ => $any.0.$name(..),
        }
    };
}

/// A float of any bits, one time in three an odd one.
macro_rules! float {
    ($any:ident, $name:ident, $bits:ident) => {
        match $any.0.u8(0..18) {
            0 => $name::NAN,
            1 => $name::INFINITY,
            2 => $name::NEG_INFINITY,
            3 => -0.0,
            4 => $name::MAX,
            5 => $name::MIN_POSITIVE,
            // Which of many it is that is no number does not cross.
            _ => {
                Some($name::from_bits($any.0.$bits(..))).filter(|float| !float.is_nan()).unwrap_or($name::NAN)
            }
        }
    };
}

impl Any {
    pub fn new(seed: u64) -> Self {
        Self(Rng::with_seed(seed))
    }

    pub fn whole(&mut self) -> Whole {
        Whole {
            true_: self.0.bool(),
            numbers: self.numbers(),
            texts: self.texts(),
            colour: self.colour(),
            access: self.access(),
            shapes: self.several(Self::shape),
            maybe: self.maybe(),
            outcome: match self.0.bool() {
                true => Ok(self.several(|any| number!(any, u8))),
                false => Err(self.texts()),
            },
            ok: if self.0.bool() { Ok(number!(self, u16)) } else { Err(()) },
            err: if self.0.bool() { Ok(()) } else { Err(self.text()) },
            neither: if self.0.bool() { Ok(()) } else { Err(()) },
            pair: (float!(self, f64, u64), self.colour()),
            nested: self.several(|any| any.several(|any| any.0.bool().then(|| any.access()))),
        }
    }

    pub fn many(&mut self) -> Many {
        let last = self.0.bool().then(|| number!(self, u8));
        (self.0.bool(), self.numbers(), self.texts(), self.shape(), self.maybe(), self.access(), last)
    }

    fn numbers(&mut self) -> Numbers {
        Numbers {
            a: number!(self, i8),
            b: number!(self, u8),
            c: number!(self, i16),
            d: number!(self, u16),
            e: number!(self, i32),
            f: number!(self, u32),
            g: number!(self, i64),
            h: number!(self, u64),
            i: float!(self, f32, u32),
            j: float!(self, f64, u64),
        }
    }

    fn texts(&mut self) -> Texts {
        Texts { letter: self.letter(), text: self.text(), lines: self.several(Self::text) }
    }

    fn shape(&mut self) -> Shape {
        match self.0.u8(0..5) {
            0 => Shape::None,
            1 => Shape::Some(number!(self, u8)),
            2 => Shape::Err(self.text()),
            3 => Shape::Line((number!(self, i32), number!(self, i32))),
            _ => Shape::Group(self.several(Self::numbers)),
        }
    }

    fn maybe(&mut self) -> Option<Option<u8>> {
        self.0.bool().then(|| self.0.bool().then(|| number!(self, u8)))
    }

    fn colour(&mut self) -> Colour {
        [Colour::Red, Colour::Green, Colour::Blue][self.0.usize(..3)]
    }

    fn access(&mut self) -> Access {
        Access::from_bits_truncate(self.0.u8(..))
    }

    /// Of all that Unicode has, one time in three of what text is written with.
    fn letter(&mut self) -> char {
        match self.0.u8(0..3) {
            0 => ['\'', '"', '\\', '\n', '\r', '\t', '\0', '{', '(', '/', '%', ' '][self.0.usize(..12)],
            _ => self.0.char(..),
        }
    }

    fn text(&mut self) -> String {
        (0..self.0.usize(..12)).map(|_| self.letter()).collect()
    }

    fn several<T>(&mut self, mut one: impl FnMut(&mut Self) -> T) -> Vec<T> {
        (0..self.0.usize(..4)).map(|_| one(self)).collect()
    }
}
