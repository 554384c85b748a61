//! Random programs that trap nowhere: nested loops, streams of loads and stores, transfers with tags and shapes, gathers, macs,
//! tiles of the array, branches, jumps over dead blocks, epochs; on several cores also barriers, signals and collective transfers.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::fmt::Write as _;

/// What every program begins with. x1 = core, x3 = SRAM, x9 = -1, x10 = 16 MiB of DRAM of this core, x11 = the group of two
/// that it is in, x12 = the core that it signals, x20 = masks, x21 = indices.
const HEAD: &str = "
    csr x1, core
    csr x2, cores
    li x3, 1 << 60
    li x9, -1
    add x10, x1, 1
    sll x10, x10, 24
    and x11, x1, -2
    li x12, 3
    sll x11, x12, x11
    add x12, x1, 1
    remu x12, x12, x2
    .fmt f1=ternary, f2=int8, f3=fp32
    setacc c0, exact
    setacc c2, exact
    setacc c4, chain
    li x4, 0x3f800000
    q.fill q0, x4
    q.fill q1, x4
    li x4, 8
    settile.m x0, x4
    li x4, 24
    settile.n x0, x4
    li x4, 40
    settile.k x0, x4
    li x4, 16
    li x5, 64
    setmac x14, x4, x5, f1, f2
    li x4, 32
    setvl x0, x4, f3, f3
    li x20, masks
    li x21, indices
    mm.w 0(x3) rows x5, f2
";

struct Draw {
    rng: ChaCha8Rng,
    text: String,
    labels: u32,
    /// Statements that may still be written.
    left: u32,
    cores: u32,
    shared: bool,
}

/// The program of `seed` for `cores` cores, which run it together, on a machine with or without shared SRAM; every core
/// takes the same way through it.
pub fn program(seed: u64, cores: u32, shared: bool) -> String {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut control = String::from(".control\nmasks:\n");
    for _ in 0..64 {
        let byte: u8 = if rng.random_range(0..3) == 0 { 0 } else { rng.random() };
        let _ = writeln!(control, "    .byte {byte}");
    }
    control += "    .align 4\nindices:\n";
    for _ in 0..64 {
        let _ = writeln!(control, "    .byte {}, {}, 0, 0", rng.random::<u8>(), rng.random_range(0..4));
    }
    let left = rng.random_range(8..50);
    let mut draw = Draw { rng, text: String::new(), labels: 0, left, cores, shared };
    draw.block(0);
    format!("{control}.code\n{HEAD}{}    halt\n", draw.text)
}

impl Draw {
    fn up_to(&mut self, most: u64) -> u64 {
        self.rng.random_range(0..=most)
    }
    fn line(&mut self, text: &str) {
        let _ = writeln!(self.text, "    {text}");
    }
    fn label(&mut self) -> String {
        self.labels += 1;
        format!("l{}", self.labels)
    }
    /// A place of SRAM into `register`, with 64 KiB behind it.
    fn place(&mut self, register: &str) {
        let at = 64 * self.up_to(40 << 4);
        self.line(&format!("add {register}, x3, {at}"));
    }
    /// A place of DRAM that may be read into `register`: of this core, or below of all.
    fn source(&mut self, register: &str) {
        let at = self.up_to(1 << 20);
        let base = if self.up_to(2) == 0 { "x0" } else { "x10" };
        self.line(&format!("add {register}, {base}, {at}"));
    }
    /// Lines up to the end of a block, `depth` loops deep.
    fn block(&mut self, depth: u32) {
        let count = 2 + self.up_to(if depth == 0 { 40 } else { 8 });
        for _ in 0..count {
            if self.left == 0 {
                return;
            }
            self.left -= 1;
            self.statement(depth);
        }
    }
    fn statement(&mut self, depth: u32) {
        match self.up_to(if self.cores > 1 { 24 } else { 21 }) {
            0..=3 => self.transfer(),
            4 => self.gather(),
            5 | 6 => {
                let (tag, left) = (self.up_to(3), self.up_to(2));
                self.line(&format!("dma.wait t{tag}, {left}"));
            }
            7..=9 => self.load_or_store(),
            10 => self.elementwise(),
            11 | 12 => self.sum(),
            13 => self.tiles(),
            14 => self.scalars(),
            15 | 16 if depth < 3 => self.repeat(depth),
            17 if depth < 4 => self.skip(depth),
            18 if self.up_to(2) == 0 => self.line("epoch"),
            19..=21 if depth < 3 => self.stream(depth),
            22 => self.meet(),
            23 | 24 => self.collective(),
            _ => self.line("nop"),
        }
    }
    /// Bytes of a transfer into x6; its shape.
    fn shape(&mut self) -> &'static str {
        let bytes = [1, 17, 64, 100, 256, 777, 2048, 4096, 40_000][self.up_to(8) as usize];
        if self.up_to(2) > 0 {
            self.line(&format!("li x6, {bytes}"));
            return "";
        }
        let (count, stride) = (1 + self.up_to(5), [0, 64, 100, 4096, 65_536][self.up_to(4) as usize]);
        self.line(&format!("li x6, {}", 1 + bytes % 256));
        self.line(&format!("li x4, {count}"));
        self.line(&format!("li x5, {}", stride + 256));
        self.line("li x7, 256");
        self.line("dma.dim d1, 1, x4, x5, x7");
        ", d1"
    }
    fn transfer(&mut self) {
        let tag = self.up_to(3);
        self.place("x13");
        if self.up_to(2) > 0 {
            self.source("x16");
            let shape = self.shape();
            self.line(&format!("dma.ld t{tag}, x13, x16, x6{shape}"));
        } else {
            let at = self.up_to(1 << 20);
            self.line(&format!("add x16, x10, {at}"));
            self.shape();
            self.line(&format!("dma.st t{tag}, x16, x13, x6"));
        }
    }
    fn gather(&mut self) {
        self.place("x13");
        let (tag, bytes, rows) = (self.up_to(3), [4, 64, 100, 256][self.up_to(3) as usize], self.up_to(32));
        for line in
            [format!("li x6, {bytes}"), format!("li x7, {rows}"), format!("dma.gat t{tag}, x13, x10, x6, x7, x21")]
        {
            self.line(&line);
        }
    }
    fn load_or_store(&mut self) {
        self.place("x13");
        let (register, format) = (self.up_to(7), 1 + self.up_to(2));
        match self.up_to(3) {
            0 => self.line(&format!("st.bp v{register}, 0(x13), f3")),
            1 => self.line("st.c c1, 0(x13), f3"),
            _ => self.line(&format!("ld.bp v{register}, 0(x13), f{format}")),
        }
    }
    fn elementwise(&mut self) {
        let (a, b, c) = (self.up_to(7), self.up_to(7), self.up_to(7));
        let op = ["addv", "mulv", "divv", "maxv"][self.up_to(3) as usize];
        self.line(&format!("{op} v{a}, v{b}, v{c}"));
    }
    fn sum(&mut self) {
        let (a, b) = (self.up_to(7), self.up_to(7));
        match self.up_to(4) {
            0 => self.line("fold c1, c0, q0, q1 .new"),
            1 => self.line(&format!("mac c2, v{a}, v{b}, f1, f2")),
            _ => self.line(&format!("mac c0, v{a}, v{b}, f1, f2")),
        }
    }
    fn tiles(&mut self) {
        self.place("x13");
        self.line("li x5, 64");
        match self.up_to(2) {
            0 => self.line("mm.w 0(x13) rows x5, f2"),
            _ => self.line("mm.x c3, 0(x13) rows x5, f2 .new"),
        }
    }
    fn scalars(&mut self) {
        self.place("x13");
        match self.up_to(3) {
            0 => self.line("lw.d x17, 0(x13)"),
            1 => self.line("sw.d x9, 8(x13)"),
            2 => self.line("lw.w x17, 0(x21)"),
            _ => (0..=self.up_to(30)).for_each(|_| self.line("add x17, x17, 1")),
        }
    }
    fn repeat(&mut self, depth: u32) {
        let (count, end) = (self.up_to(5), self.label());
        // Each depth has its own counter.
        self.line(&format!("li x{}, {count}", 22 + depth));
        self.line(&format!("loop x{}, {end}", 22 + depth));
        self.block(depth + 1);
        self.text += &format!("{end}: endl\n");
    }
    /// A loop whose passes do the same at other places, but for now and then a scalar that does not move evenly.
    fn stream(&mut self, depth: u32) {
        let (count, end) = (self.up_to(30), self.label());
        ["x26", "x27", "x28"].into_iter().for_each(|base| self.place(base));
        let step = 64 * self.up_to(3);
        self.line(&format!("li x29, {step}"));
        self.line("li x30, 2");
        self.line("mv x19, x26");
        // Rows of a tile, which has 64 or more.
        let (row, rows) = [(0, 0), (3, 1), (2, 2), (62, -1), (63, -2)][self.up_to(4) as usize];
        self.line(&format!("li x15, {row}"));
        // A scalar in memory that is another each time; several cores would race for it.
        for line in ["lw.b x17, 0(x21)", "add x17, x17, 1", "and x17, x17, 3", "sw.b x17, 0(x21)"] {
            if self.cores == 1 {
                self.line(line);
            }
        }
        self.line(&format!("li x{}, {count}", 22 + depth));
        self.line(&format!("loop x{}, {end}", 22 + depth));
        for _ in 0..=self.up_to(8) {
            match self.up_to(9) {
                0 => self.way_round(),
                1 => self.measured(),
                _ => self.streamed(),
            }
        }
        if depth < 2 && self.up_to(3) == 0 {
            let inner = self.label();
            if self.up_to(1) == 0 && self.cores == 1 {
                self.line("lw.b x30, 0(x21)");
            }
            self.line(&format!("loop x30, {inner}"));
            (0..=self.up_to(2)).for_each(|_| self.streamed());
            self.text += &format!("{inner}: endl\n");
        }
        self.line(&format!("add x15, x15, {rows}"));
        self.text += &format!("{end}: endl\n");
    }
    /// Some of a pass that is left out, or done again, as a scalar says that may move from pass to pass.
    fn way_round(&mut self) {
        let (a, b, label) = (26 + self.up_to(2), self.up_to(30), self.label());
        match self.up_to(4) {
            0 => self.line(&format!("bne x30, x9, {label}")),
            1 => self.line(&format!("blt x{a}, x26, {label}")),
            2 => {
                self.line("and x18, x19, 128");
                self.line(&format!("beq x18, x0, {label}"));
            }
            3 => self.line(&format!("j {label}")),
            _ => {
                self.line(&format!("li x18, {}", 1 + b % 3));
                self.text += &format!("{label}: nop\n");
                self.streamed();
                self.line("sub x18, x18, 1");
                return self.line(&format!("bne x18, x0, {label}"));
            }
        }
        (0..=b % 3).for_each(|_| self.streamed());
        self.text += &format!("{label}: add x19, x19, 0\n");
    }
    /// What a row is measured and scaled by.
    fn measured(&mut self) {
        let (base, a, elements) = (26 + self.up_to(2), self.up_to(7), [8, 32][self.up_to(1) as usize]);
        let fill = self.up_to(2) > 0;
        self.line(&format!("li x18, {elements}"));
        self.line("setvl x18, x18, f3, f3");
        if fill {
            self.line("c.fill c4, zero");
        }
        self.line(&format!("red c4, v{a}, amax, x0"));
        if self.up_to(1) == 0 {
            self.line("qset q2, c4, x18, f2, absmax");
            self.line("li x18, 1");
            self.line(&format!("st.s q2, 0(x{base})+, x18, f3"));
            self.line(&format!("quant v{a}, v{a}, q2, f2"));
        } else {
            self.line(&format!("red.end v{a}, c4, amax"));
        }
    }
    fn streamed(&mut self) {
        let (base, a, b) = (26 + self.up_to(2), self.up_to(7), self.up_to(7));
        let format = 1 + self.up_to(2);
        let step = ["", "+", "+", "+x29"][self.up_to(3) as usize];
        match self.up_to(15) {
            0..=3 => self.line(&format!("ld.bp v{a}, 0(x{base}){step}, f{format}")),
            4..=6 => self.line(&format!("st.bp v{a}, 0(x{base}){step}, f{format}")),
            7 => self.line(&format!("cvt v{a}, v{b}, f2, f3")),
            8 => self.line(&format!("act v{a}, v{b}, gelu")),
            9 => {
                let row = ["", "[x15]"][self.up_to(1) as usize];
                self.line(&format!("mac c0{row}, v{a}, v{b}, f1, f2"));
            }
            10 => self.line("mv x19, x26"),
            11 => self.line("add x19, x19, x29"),
            12 => self.line(&format!("ld.bp v{a}, 0(x19), f2")),
            13 => self.line("lw.d x17, 0(x21)"),
            14 if self.up_to(4) == 0 => self.line("and x19, x26, -2"),
            14 if self.up_to(4) == 0 => self.line("mul x17, x17, 3"),
            _ => self.elementwise(),
        }
    }
    /// Dead blocks: none, or those that a mask leaves.
    fn skip(&mut self, depth: u32) {
        let (bits, at, end) = (1 + self.up_to(12), self.up_to(50), self.label());
        self.line(&format!("li x4, {bits}"));
        self.line(&format!("ld.m p1, {at}(x20), x4"));
        self.line(&format!("jmp.mask p1, {end}"));
        if self.up_to(1) == 0 {
            self.block(4.max(depth));
        } else {
            let next = self.label();
            self.line("li x18, 0");
            self.text += &format!("{next}: next.mask x18, p1, x18, {end}\n");
            self.line("sll x19, x18, 8");
            self.line("add x13, x3, x19");
            self.line("add x16, x10, x19");
            self.line("li x6, 256");
            self.line("dma.ld t1, x13, x16, x6");
            self.line("ld.bp v1, 0(x13), f2");
            self.line("mac c0, v2, v1, f1, f2");
            self.line("add x18, x18, 1");
            self.line(&format!("j {next}"));
        }
        self.text += &format!("{end}: nop\n");
    }
    /// One core comes later than the others.
    fn late(&mut self) {
        let (core, on) = (self.up_to(u64::from(self.cores) - 1), self.label());
        self.line(&format!("li x4, {core}"));
        self.line(&format!("bne x1, x4, {on}"));
        match self.up_to(3) {
            0 => self.transfer(),
            1 => self.line("dma.wait t0, 0"),
            _ => (0..=self.up_to(60)).for_each(|_| self.line("nop")),
        }
        self.text += &format!("{on}: nop\n");
    }
    /// The group of everybody, or of two.
    fn group(&mut self) -> &'static str {
        if self.cores.is_multiple_of(2) && self.up_to(1) == 0 { "x11" } else { "x9" }
    }
    fn meet(&mut self) {
        self.late();
        let group = self.group();
        match self.up_to(2) {
            0 => {
                let semaphore = self.up_to(3);
                self.line(&format!("sig x12, {semaphore}"));
                self.line(&format!("wait.sig {semaphore}"));
            }
            _ => self.line(&format!("bar {group}")),
        }
    }
    fn collective(&mut self) {
        if self.up_to(1) == 0 {
            self.late();
        }
        let (tag, group) = (self.up_to(3), self.group());
        self.place("x13");
        // What all members read: DRAM that nobody writes, or the shared SRAM.
        let (at, shared) = (self.up_to(1 << 20), self.shared && self.up_to(3) == 0);
        self.line(&format!("li x16, {}", if shared { (2 << 60) + at % 4096 } else { at }));
        let shape = if shared { "" } else { self.shape() };
        if shared {
            self.line("li x6, 700");
        }
        self.line(&format!("dma.mc t{tag}, x13, x16, x6, {group}{shape}"));
    }
}
