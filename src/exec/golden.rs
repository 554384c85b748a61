//! Program and memory as `$readmemh` text, for test benches of hardware that is to do the same.
//!
//! Every file has 64-bit words, 16 hexadecimal digits a line; `@n` says that the next word has index n (word, not byte),
//! and words that no line gives are 0. Byte 0 of memory is the low byte of word 0.

use super::Vm;
use super::event::Space;

/// The files that describe a run: name and text.
pub type Files = Vec<(String, String)>;

/// Spaces with the names of their files.
const SPACES: [(Space, &str); 4] =
    [(Space::Dram, "dram"), (Space::Sram, "sram"), (Space::Shared, "shared"), (Space::Control, "control")];

/// The memory of a core, a file a space: `sram.before.hex` where `when` is `before`.
pub fn memory(vm: &Vm, when: &str) -> Files {
    let file = |(space, name): &(Space, &str)| {
        let bytes = vm.contents(*space);
        let words = bytes.chunks(8).map(|chunk| chunk.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)));
        let title = format!("{} {when} the program", space.name());
        (format!("{name}.{when}.hex"), text(&title, words))
    };
    SPACES.iter().map(file).collect()
}

/// The program, its words in order; the program counter counts them.
pub fn program(vm: &Vm) -> Files {
    let title = format!("the program, entry at word {}", vm.object().entry);
    vec![("program.hex".into(), text(&title, vm.object().words.iter().copied()))]
}

/// Scalar registers, x0 first.
pub fn scalars(vm: &Vm, when: &str) -> Files {
    let values = (0..32).map(|n| vm.x(n).unwrap_or_default());
    vec![(format!("x.{when}.hex"), text(&format!("scalar registers {when} the program"), values))]
}

fn text(title: &str, words: impl Iterator<Item = u64>) -> String {
    let mut out = format!("// preon.golden/1: {title}; 64-bit words, @ index of a word, words not given are 0\n");
    let mut expected = 0;
    for (at, word) in words.enumerate().filter(|(_, word)| *word != 0) {
        if at != expected {
            out += &format!("@{at:x}\n");
        }
        out += &format!("{word:016x}\n");
        expected = at + 1;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_follow_each_other_or_say_where_they_stand() {
        let shown = text("t", [1, 2, 0, 0, 0xabc, 0].into_iter());
        let lines: Vec<&str> = shown.lines().skip(1).collect();
        assert_eq!(lines, ["0000000000000001", "0000000000000002", "@4", "0000000000000abc"]);
        assert!(shown.starts_with("// preon.golden/1: t;"));
    }
}
