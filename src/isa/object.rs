//! Object container.
/// A linked or linkable program.
#[derive(Debug, Clone, Default)]
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
    /// Parameter names of a kernel, in order: 8 bytes each.
    pub params: Vec<String>,
}
