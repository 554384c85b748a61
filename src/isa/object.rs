//! Programs as objects: words with symbols, lines, formats and initial control memory; the binary container; linking.
//!
//! Container (little-endian): magic `PREONVPX`, u32 version, u32 number of sections, then per section a 4-byte name,
//! u64 length and the bytes; at the end u32 CRC-32 of everything before it. Sections: `WORD` `SYMB` `FMTS` `LINE`
//! `FILE` `CTRL` `PARM` `XTRN` `ENTR`, each once and in this order; behind them `DRAM` and `SRAM` where a program has
//! initial contents for them.

use super::encode::decode;
use super::table::{Op, Operand};
use crate::diag::{Error, Result};
use crate::num;
use crate::num::crc32::crc32;

/// Address of byte 0 of control memory (space 3).
pub const CONTROL_BASE: u64 = 3 << 60;
/// Version of the container.
pub const VERSION: u32 = 1;

const MAGIC: &[u8; 8] = b"PREONVPX";
/// Sections that an object has only if they hold something.
const OPTIONAL: [&[u8; 4]; 2] = [b"DRAM", b"SRAM"];
const SECTIONS: [&[u8; 4]; 9] = [b"WORD", b"SYMB", b"FMTS", b"LINE", b"FILE", b"CTRL", b"PARM", b"XTRN", b"ENTR"];

/// A linked or linkable program.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Object {
    /// Instruction words.
    pub words: Vec<u64>,
    /// Entry word.
    pub entry: u32,
    /// Name, word address.
    pub symbols: Vec<(String, u32)>,
    /// Names of formats; `fmt.set` immediates index this list.
    pub formats: Vec<String>,
    /// (word, source file index, line), sorted by word.
    pub lines: Vec<(u32, u16, u32)>,
    /// Source file names.
    pub files: Vec<String>,
    /// Initial control memory (space 3) from address 0.
    pub control: Vec<u8>,
    /// Initial DRAM (space 0) from address 0.
    pub dram: Vec<u8>,
    /// Initial SRAM (space 1) of every core from its first address.
    pub sram: Vec<u8>,
    /// Parameter names of a kernel, in order: 8 bytes each.
    pub params: Vec<String>,
    /// References that linking resolves: word whose label operand waits, name of the kernel.
    pub externs: Vec<(u32, String)>,
}

impl Object {
    /// Word address of a symbol.
    pub fn symbol(&self, name: &str) -> Option<u32> {
        self.symbols.iter().find(|(known, _)| known == name).map(|(_, word)| *word)
    }

    /// Source file and line of a word.
    pub fn line(&self, word: u32) -> Option<(&str, u32)> {
        let at = self.lines.partition_point(|(first, ..)| *first <= word).checked_sub(1)?;
        let (_, file, line) = self.lines[at];
        Some((self.files.get(usize::from(file))?, line))
    }

    /// The container as bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend(VERSION.to_le_bytes());
        let optional = OPTIONAL.into_iter().zip([&self.dram, &self.sram]).filter(|(_, bytes)| !bytes.is_empty());
        out.extend((SECTIONS.len() as u32 + optional.clone().count() as u32).to_le_bytes());
        let section = |name: &[u8; 4]| -> Vec<u8> {
            match name {
                b"WORD" => self.words.iter().flat_map(|word| word.to_le_bytes()).collect(),
                b"SYMB" => pairs(self.symbols.iter().map(|(name, word)| (*word, name.as_str()))),
                b"FMTS" => names(&self.formats),
                b"LINE" => self.lines.iter().flat_map(|(word, file, line)| line_bytes(*word, *file, *line)).collect(),
                b"FILE" => names(&self.files),
                b"CTRL" => self.control.clone(),
                b"PARM" => names(&self.params),
                b"XTRN" => pairs(self.externs.iter().map(|(word, name)| (*word, name.as_str()))),
                _ => self.entry.to_le_bytes().to_vec(),
            }
        };
        for name in SECTIONS {
            let bytes = section(name);
            out.extend(name);
            out.extend((bytes.len() as u64).to_le_bytes());
            out.extend(bytes);
        }
        for (name, bytes) in optional {
            out.extend(name);
            out.extend((bytes.len() as u64).to_le_bytes());
            out.extend(bytes);
        }
        out.extend(crc32(&out).to_le_bytes());
        out
    }

    /// Reads a container, checking everything: lengths, checksum, words, names, tables.
    ///
    /// # Errors
    /// [`crate::diag::Kind::BadInput`] with what is wrong; an unknown format is named.
    pub fn from_bytes(bytes: &[u8]) -> Result<Object> {
        let mut reader = Reader { bytes };
        if reader.take(8)? != MAGIC {
            return Err(Error::bad_input("this is not a Preon program").help("programs begin with `PREONVPX`"));
        }
        let version = reader.u32()?;
        if version != VERSION {
            let message = format!("the program has container version {version}, this Preon reads {VERSION}");
            return Err(Error::bad_input(message).help("assemble it again"));
        }
        let body = bytes.len().checked_sub(4).ok_or_else(truncated)?;
        let stated = Reader { bytes: &bytes[body..] }.u32()?;
        if crc32(&bytes[..body]) != stated {
            return Err(Error::bad_input("the program is damaged: its checksum does not match"));
        }
        let sections = reader.u32()? as usize;
        if !(SECTIONS.len()..=SECTIONS.len() + OPTIONAL.len()).contains(&sections) {
            return Err(Error::bad_input("the program is damaged: wrong number of sections"));
        }
        let mut object = Object::default();
        for name in SECTIONS {
            if reader.take(4)? != name {
                return Err(Error::bad_input("the program is damaged: a section is missing"));
            }
            let length = usize::try_from(reader.u64()?).map_err(|_| truncated())?;
            object.read_section(name, reader.take(length)?)?;
        }
        let mut left = OPTIONAL.into_iter();
        for _ in SECTIONS.len()..sections {
            let name = reader.take(4)?;
            let length = usize::try_from(reader.u64()?).map_err(|_| truncated())?;
            let bytes = reader.take(length)?;
            let known = left.find(|known| known[..] == *name).filter(|_| !bytes.is_empty());
            match known {
                Some(b"DRAM") => object.dram = bytes.to_vec(),
                Some(_) => object.sram = bytes.to_vec(),
                None => return Err(Error::bad_input("the program is damaged: a section does not belong there")),
            }
        }
        if reader.bytes.len() != 4 {
            return Err(Error::bad_input("the program is damaged: bytes follow its last section"));
        }
        object.verify()?;
        Ok(object)
    }

    fn read_section(&mut self, name: &[u8; 4], bytes: &[u8]) -> Result<()> {
        let chunks = |size: usize| match bytes.len() % size {
            0 => Ok(bytes.chunks_exact(size)),
            _ => Err(Error::bad_input("the program is damaged: a section has an odd length")),
        };
        let mut reader = Reader { bytes };
        match name {
            b"WORD" => self.words = chunks(8)?.map(|word| u64::from_le_bytes(array(word))).collect(),
            b"LINE" => {
                let read = |entry: &[u8]| {
                    let number = |at: usize| u32::from_le_bytes(array(&entry[at..at + 4]));
                    (number(0), u16::from_le_bytes(array(&entry[8..10])), number(4))
                };
                self.lines = chunks(10)?.map(read).collect();
            }
            b"SYMB" => self.symbols = reader.pairs()?.into_iter().map(|(word, name)| (name, word)).collect(),
            b"XTRN" => self.externs = reader.pairs()?,
            b"FMTS" => self.formats = reader.names()?,
            b"FILE" => self.files = reader.names()?,
            b"PARM" => self.params = reader.names()?,
            b"CTRL" => self.control = bytes.to_vec(),
            _ => {
                self.entry = reader.u32()?;
                reader.end()?;
            }
        }
        Ok(())
    }

    /// Checks that every word decodes, every format exists and every table points into the program.
    ///
    /// # Errors
    /// [`crate::diag::Kind::BadInput`] naming the first thing that is wrong.
    pub fn verify(&self) -> Result<()> {
        for (at, name) in self.formats.iter().enumerate() {
            num::format::find(name)?;
            if self.formats[..at].contains(name) {
                return Err(Error::bad_input(format!("the program lists the format {name} twice")));
            }
        }
        for (at, word) in self.words.iter().enumerate() {
            let inst =
                decode(*word).map_err(|why| Error::bad_input(format!("word {at} is not an instruction: {why}")))?;
            if inst.op == Op::FmtSet && inst.imm as usize >= self.formats.len() {
                return Err(Error::bad_input(format!("word {at} binds row {} of a shorter format table", inst.imm)));
            }
        }
        let words = self.words.len() as u64;
        let outside = |word: u32, limit: u64| u64::from(word) >= limit;
        let lines_sorted = self.lines.windows(2).all(|pair| pair[0].0 < pair[1].0);
        let wrong = if words > super::asm::MAX_WORDS as u64 {
            "has too many words"
        } else if [&self.control, &self.dram, &self.sram].iter().any(|data| data.len() > super::asm::MAX_CONTROL) {
            "has too much initial memory"
        } else if outside(self.entry, words.max(1)) {
            "starts outside of its words"
        } else if self.symbols.iter().any(|(_, word)| outside(*word, words + 1)) {
            "has a symbol outside of its words"
        } else if self.externs.iter().any(|(word, _)| outside(*word, words)) {
            "has a reference outside of its words"
        } else if !lines_sorted
            || self.lines.iter().any(|(word, file, _)| outside(*word, words) || usize::from(*file) >= self.files.len())
        {
            "has a wrong line table"
        } else {
            return Ok(());
        };
        Err(Error::bad_input(format!("the program {wrong}")))
    }
}

/// A linked program and where its kernels stand.
#[derive(Debug, Clone)]
pub struct Linked {
    /// The program: the driver's words, then every kernel's.
    pub object: Object,
    /// Base word of each kernel, in the order given.
    pub bases: Vec<u32>,
}

/// Links `driver` with named kernels. Symbols of a kernel become `kernel.symbol`, its start `kernel`; format tables
/// are united and `fmt.set` remapped; the driver's `.extern` references to kernels are resolved.
///
/// # Errors
/// [`crate::diag::Kind::BadInput`] for a kernel with initial control memory, an external reference that no kernel
/// answers or more than one, a word that has no label, or a program that grows too large.
pub fn link(driver: &Object, kernels: &[(&str, &Object)]) -> Result<Linked> {
    let mut object = driver.clone();
    object.externs.clear();
    let mut bases = Vec::with_capacity(kernels.len());
    for (name, kernel) in kernels {
        if [&kernel.control, &kernel.dram, &kernel.sram].iter().any(|data| !data.is_empty()) {
            return Err(Error::bad_input(format!("the kernel `{name}` has a section of data"))
                .help("only the driver fills memory; kernels take parameter blocks"));
        }
        bases.push(append(&mut object, name, kernel)?);
    }
    let owned = driver.externs.iter().map(|(word, name)| (*word, name));
    let brought = kernels
        .iter()
        .zip(&bases)
        .flat_map(|((_, kernel), base)| kernel.externs.iter().map(move |(word, name)| (base + word, name)));
    for (word, name) in owned.chain(brought) {
        let mut named = kernels.iter().zip(&bases).filter(|((known, _), _)| known == name);
        let target = match (named.next(), named.next()) {
            (Some(((_, kernel), base)), None) => base + kernel.entry,
            (None, _) => {
                return Err(Error::bad_input(format!("no kernel `{name}` is linked, which word {word} calls")));
            }
            _ => return Err(Error::bad_input(format!("two kernels are called `{name}`, which word {word} calls"))),
        };
        let wrong = || Error::bad_input(format!("word {word}, which refers to `{name}`, has no label"));
        let place = object.words.get_mut(word as usize).ok_or_else(wrong)?;
        let mut inst = decode(*place).map_err(|_| wrong())?;
        if !inst.op.row().operands.contains(&Operand::Label) {
            return Err(wrong());
        }
        inst.imm = (i64::from(target) - i64::from(word)) as i32;
        *place = inst.encode();
    }
    Ok(Linked { object, bases })
}

/// Appends one kernel; returns its base word.
fn append(object: &mut Object, name: &str, kernel: &Object) -> Result<u32> {
    let base = object.words.len() as u32;
    if object.words.len() + kernel.words.len() > super::asm::MAX_WORDS {
        return Err(Error::bad_input(format!("with the kernel `{name}` the program has too many words")));
    }
    let mut rows = Vec::with_capacity(kernel.formats.len());
    for format in &kernel.formats {
        rows.push(row_of(&mut object.formats, format));
    }
    let binds = Op::FmtSet.row().code;
    for &word in &kernel.words {
        // No other word depends on what it is linked with.
        if word as u8 != binds {
            object.words.push(word);
            continue;
        }
        let mut inst = decode(word).map_err(|why| Error::bad_input(format!("kernel `{name}`: {why}")))?;
        let row = rows.get(inst.imm as usize);
        inst.imm =
            *row.ok_or_else(|| Error::bad_input(format!("kernel `{name}` binds a format that it does not list")))?;
        object.words.push(inst.encode());
    }
    let files: Vec<u16> = kernel.files.iter().map(|file| row_of(&mut object.files, file) as u16).collect();
    let file = |at: u16| files.get(usize::from(at)).copied().unwrap_or_default();
    object.lines.extend(kernel.lines.iter().map(|(word, at, line)| (base + word, file(*at), *line)));
    object.symbols.push((name.to_string(), base + kernel.entry));
    object.symbols.extend(kernel.symbols.iter().map(|(symbol, word)| (format!("{name}.{symbol}"), base + word)));
    Ok(base)
}

/// Index of `name` in `list`, which grows by it if needed.
fn row_of(list: &mut Vec<String>, name: &str) -> i32 {
    let at = list.iter().position(|known| known == name).unwrap_or_else(|| {
        list.push(name.to_string());
        list.len() - 1
    });
    at as i32
}

fn line_bytes(word: u32, file: u16, line: u32) -> Vec<u8> {
    [&word.to_le_bytes()[..], &line.to_le_bytes(), &file.to_le_bytes()].concat()
}

fn names(list: &[String]) -> Vec<u8> {
    list.iter().flat_map(|name| [&(name.len() as u32).to_le_bytes()[..], name.as_bytes()].concat()).collect()
}

fn pairs<'a>(list: impl Iterator<Item = (u32, &'a str)>) -> Vec<u8> {
    let entry = |(word, name): (u32, &str)| {
        [&word.to_le_bytes()[..], &(name.len() as u32).to_le_bytes(), name.as_bytes()].concat()
    };
    list.flat_map(entry).collect()
}

fn truncated() -> Error {
    Error::bad_input("the program is cut off")
}

/// The first `N` bytes of a slice that has them.
fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[..N]);
    out
}

struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let (head, tail) = self.bytes.split_at_checked(count).ok_or_else(truncated)?;
        self.bytes = tail;
        Ok(head)
    }
    fn u32(&mut self) -> Result<u32> {
        self.take(4).map(|bytes| u32::from_le_bytes(array(bytes)))
    }
    fn u64(&mut self) -> Result<u64> {
        self.take(8).map(|bytes| u64::from_le_bytes(array(bytes)))
    }
    fn name(&mut self) -> Result<String> {
        let length = self.u32()? as usize;
        let bytes = self.take(length)?.to_vec();
        String::from_utf8(bytes).map_err(|_| Error::bad_input("the program is damaged: a name is not UTF-8"))
    }
    fn names(&mut self) -> Result<Vec<String>> {
        let mut list = Vec::new();
        while !self.bytes.is_empty() {
            list.push(self.name()?);
        }
        Ok(list)
    }
    fn pairs(&mut self) -> Result<Vec<(u32, String)>> {
        let mut list = Vec::new();
        while !self.bytes.is_empty() {
            list.push((self.u32()?, self.name()?));
        }
        Ok(list)
    }
    fn end(&self) -> Result<()> {
        if self.bytes.is_empty() {
            Ok(())
        } else {
            Err(Error::bad_input("the program is damaged: a section is too long"))
        }
    }
}
