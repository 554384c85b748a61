//! Linking: assembles each kernel body once per format binding, writes parameter blocks into control memory, and puts
//! a driver in front that calls the bodies in order.
//!
//! The driver of a step is `node i`, then for each call `x10 = parameter block; call body`; it ends in `halt`.

use super::kernels::Kernels;
use super::lower::{Call, Lowered};
use super::place::SPACE_SHIFT;
use super::tile::Tiling;
use super::trial::Tried;
use crate::diag::{Error, Result};
use crate::isa::{Inst, Object, Op, asm};
use crate::machine::Machine;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Register that carries the address of the parameter block.
const PARAMS: u8 = 10;
/// Register that carries the step number to `node`.
const STEP: u8 = 5;
/// Return address.
const LINK: u8 = 1;
/// Words of one call in the driver: two to load the address, one to jump.
const CALL_WORDS: usize = 3;
/// Words that start a step.
const STEP_WORDS: usize = 2;

/// What makes a body: kernel, formats, constants.
pub type BodyKey = (&'static str, Vec<(&'static str, u16)>, Vec<(&'static str, i64)>);

/// That of a call.
pub fn body_key(call: &Call) -> BodyKey {
    (call.kernel, call.formats.iter().map(|(name, format)| (*name, format.id)).collect(), call.consts.clone())
}

/// Kernel bodies that were assembled and tilings that were tried, for programs of one machine that share them.
#[derive(Debug, Default)]
pub struct Bodies {
    assembled: BTreeMap<BodyKey, Arc<Object>>,
    /// What was tried, and the tiling that was taken.
    pub(super) tried: Vec<(Tried, Tiling)>,
}

impl Bodies {
    fn of(&mut self, call: &Call, kernels: &Kernels) -> Result<Arc<Object>> {
        let key = body_key(call);
        if let Some(known) = self.assembled.get(&key) {
            return Ok(known.clone());
        }
        let body = Arc::new(assemble(call, kernels)?);
        self.assembled.insert(key, body.clone());
        Ok(body)
    }
}

/// Links the program; parameter blocks start at byte `control_start` of control memory. `known` are bodies that earlier
/// programs were made of, from the same `kernels`.
///
/// # Errors
/// A kernel that does not assemble, that lacks a parameter, or that asks for one nobody fills; control memory too small.
pub fn link(
    steps: &[Lowered],
    kernels: &Kernels,
    control_start: u64,
    machine: &Machine,
    known: &mut Bodies,
) -> Result<Object> {
    let calls = || steps.iter().flat_map(|step| &step.calls);
    let mut bodies: BTreeMap<BodyKey, usize> = BTreeMap::new();
    let mut objects: Vec<Arc<Object>> = Vec::new();
    for call in calls() {
        if let std::collections::btree_map::Entry::Vacant(entry) = bodies.entry(body_key(call)) {
            entry.insert(objects.len());
            objects.push(known.of(call, kernels)?);
        }
    }
    let driver_words = steps.iter().map(|step| STEP_WORDS + CALL_WORDS * step.calls.len()).sum::<usize>() + 1;
    let mut entries = Vec::with_capacity(objects.len());
    let mut base = driver_words;
    for object in &objects {
        entries.push(base + object.entry as usize);
        base += object.words.len();
    }

    let mut control =
        vec![0; usize::try_from(control_start).map_err(|_| Error::internal("control memory of 2^64 bytes"))?];
    let mut driver = Vec::with_capacity(driver_words);
    for (number, step) in steps.iter().enumerate() {
        driver.push(add_immediate(STEP, number as i32));
        driver.push(Inst { rs1: STEP, ..Inst::new(Op::Node) });
        for call in &step.calls {
            let body = bodies[&body_key(call)];
            let block = (3 << SPACE_SHIFT) + control.len() as u64;
            append_block(&mut control, call, &objects[body], kernels)?;
            driver.push(add_immediate(PARAMS, block as u32 as i32));
            driver.push(Inst { rd: PARAMS, imm: (block >> 32) as i32, ..Inst::new(Op::Lih) });
            let distance = entries[body] as i64 - driver.len() as i64;
            let imm = i32::try_from(distance).map_err(|_| Error::internal("a program of 2^31 words"))?;
            driver.push(Inst { rd: LINK, imm, ..Inst::new(Op::Jal) });
        }
    }
    driver.push(Inst::new(Op::Halt));
    if control.len() as u64 > machine.control_bytes {
        return Err(Error::unsupported(format!(
            "does not fit: parameter blocks and indices need {} bytes of control memory, {} has {}",
            control.len(),
            machine.name,
            machine.control_bytes
        ))
        .code("E0401")
        .help("raise core.control_bytes in the machine file, or shorten the input"));
    }
    let head = Object {
        words: driver.iter().map(Inst::encode).collect(),
        control,
        files: vec!["driver".into()],
        ..Object::default()
    };
    let mut names: Vec<(usize, &str)> = bodies.iter().map(|(key, body)| (*body, key.0)).collect();
    names.sort_unstable();
    let named: Vec<(&str, &Object)> = names.into_iter().map(|(body, name)| (name, &*objects[body])).collect();
    Ok(crate::isa::object::link(&head, &named)?.object)
}

/// First word of every step in the driver.
pub fn step_words(steps: &[Lowered]) -> impl Iterator<Item = u32> + '_ {
    steps.iter().scan(0, |next, step| {
        let first = *next;
        *next += (STEP_WORDS + CALL_WORDS * step.calls.len()) as u32;
        Some(first)
    })
}

fn add_immediate(rd: u8, imm: i32) -> Inst {
    let mut inst = Inst { rd, imm, ..Inst::new(Op::Alu) };
    inst.set_immediate();
    inst
}

/// Appends the parameter block of a call, in the order that the kernel declares.
fn append_block(control: &mut Vec<u8>, call: &Call, body: &Object, kernels: &Kernels) -> Result<()> {
    let file = format!("{}.vasm", call.kernel);
    let wrong = |what: String| Error::bad_input(what).code("E0405");
    if let Some((name, _)) = call.params.iter().find(|(name, _)| !body.params.iter().any(|p| p == name)) {
        let names: Vec<&str> = call.params.iter().map(|(name, _)| *name).collect();
        return Err(wrong(format!("the kernel has no parameter `{name}`, which the compiler fills"))
            .in_file(kernels.path(&file))
            .help(format!("its `.param` lines name all of {}", names.join(", "))));
    }
    for name in &body.params {
        match call.params.iter().find(|(given, _)| given == name) {
            Some((_, value)) => control.extend_from_slice(&value.to_le_bytes()),
            None => {
                let error =
                    wrong(format!("the kernel asks for a parameter `{name}`, which the compiler does not fill"));
                return Err(match kernels.source(&file).and_then(|text| Some((text, declared(text, name)?))) {
                    Some((text, at)) => error.in_text(kernels.path(&file), text, at..at + name.len()),
                    None => error.in_file(kernels.path(&file)),
                });
            }
        }
    }
    Ok(())
}

/// Where a `.param` line declares `name`.
fn declared(text: &str, name: &str) -> Option<usize> {
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let code = line.split('#').next().unwrap_or(line);
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let mut found = code
            .match_indices(name)
            .filter(|(at, _)| !code[..*at].ends_with(word) && !code[at + name.len()..].starts_with(word));
        if let (true, Some((at, _))) = (code.trim_start().starts_with(".param"), found.next()) {
            return Some(start + at);
        }
        start += line.len();
    }
    None
}

fn assemble(call: &Call, kernels: &Kernels) -> Result<Object> {
    let file = format!("{}.vasm", call.kernel);
    if kernels.source(&file).is_none() {
        return Err(Error::bad_input("the kernel library has no such file").in_file(file));
    }
    let mut options = asm::Options::default();
    for (name, format) in &call.formats {
        options.formats.insert((*name).to_owned(), format.name.clone());
    }
    for (name, value) in &call.consts {
        options.equs.insert((*name).to_owned(), *value);
    }
    let mut sources = asm::Sources::new(&file);
    for (name, text) in kernels.iter() {
        let text = if name == file { kernels.program(name).unwrap_or_default() } else { text.clone() };
        sources.add_as(name, kernels.path(name), text);
    }
    asm::assemble(&sources, &options).map_err(|mut errors| errors.swap_remove(0))
}
