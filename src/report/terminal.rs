//! Pictures made of text: braille dots, two columns and four rows a character, at most 80 characters wide. Without colour, so
//! that they are the same on a terminal, in a file and in a test.

/// Characters of a picture's line.
pub const WIDTH: usize = 72;

/// Columns of dots of [`WIDTH`] characters.
pub const COLUMNS: usize = 2 * WIDTH;

/// Dots of a braille character, by column, lowest first.
const DOTS: [[u32; 4]; 2] = [[0x40, 0x04, 0x02, 0x01], [0x80, 0x20, 0x10, 0x08]];

/// Columns as lines of text, `lines` characters high: column `i` has `heights[i]` dots from the bottom.
pub fn columns(heights: &[usize], lines: usize) -> Vec<String> {
    let line = |below: usize| {
        let pairs = heights.chunks(2).map(|pair| {
            let mut dots = 0;
            for (height, marks) in pair.iter().zip(DOTS) {
                marks.iter().take(height.saturating_sub(below)).for_each(|dot| dots |= dot);
            }
            char::from_u32(0x2800 + dots).unwrap_or(' ')
        });
        pairs.collect::<String>()
    };
    (0..lines).rev().map(|at| line(4 * at)).collect()
}

/// A line of marks: a character where any of its two columns is set.
pub fn marks(set: &[bool], mark: char) -> String {
    set.chunks(2).map(|pair| if pair.contains(&true) { mark } else { ' ' }).collect()
}

/// Labels under their columns on one line; a label that would touch the one before is left out.
pub fn labels(at: &[(f64, String)]) -> String {
    let mut line = String::new();
    let mut end = 0;
    for (share, text) in at {
        let length = text.chars().count();
        let middle = (share.clamp(0.0, 1.0) * (WIDTH - 1) as f64).round() as usize;
        let start = middle.saturating_sub(length / 2).min(WIDTH.saturating_sub(length));
        if end == 0 || start > end {
            line += &" ".repeat(start - end.min(start));
            line += text;
            end = start + length;
        }
    }
    line
}

/// The column of a share of the width.
pub fn column(share: f64) -> usize {
    ((share.clamp(0.0, 1.0) * COLUMNS as f64) as usize).min(COLUMNS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_stand_on_the_ground() {
        assert_eq!(columns(&[0, 1, 4, 8], 2), ["\u{2800}⢸", "⢀⣿"]);
        assert_eq!(marks(&[false, true, false, false], '|'), "| ");
        assert_eq!((column(0.0), column(1.0)), (0, COLUMNS - 1));
    }

    #[test]
    fn labels_do_not_touch() {
        let at = |share: f64, text: &str| (share, text.to_string());
        let line = labels(&[at(0.0, "-6"), at(0.01, "-5.9"), at(0.5, "0"), at(1.0, "6")]);
        assert_eq!(line.split_whitespace().collect::<Vec<_>>(), ["-6", "0", "6"]);
        assert_eq!(line.chars().count(), WIDTH);
    }
}
