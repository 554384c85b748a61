//! Models written field by field, as protobuf has them.

use super::*;
use crate::workload::Layer;

/// A field of a message: length-delimited.
fn piece(number: u64, bytes: &[u8]) -> Vec<u8> {
    let mut out = varint(number << 3 | 2);
    out.extend(varint(bytes.len() as u64));
    out.extend(bytes);
    out
}

fn number(field: u64, value: u64) -> Vec<u8> {
    [varint(field << 3), varint(value)].concat()
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    out
}

fn text(field: u64, text: &str) -> Vec<u8> {
    piece(field, text.as_bytes())
}

fn node(op: &str, inputs: &[&str], output: &str, ints: &[(&str, &[i64])]) -> Vec<u8> {
    let mut out: Vec<u8> = inputs.iter().flat_map(|name| text(1, name)).collect();
    out.extend(text(2, output));
    out.extend(text(3, &format!("the-{output}")));
    out.extend(text(4, op));
    for (name, values) in ints {
        let packed: Vec<u8> = values.iter().flat_map(|value| varint(*value as u64)).collect();
        out.extend(piece(5, &[text(1, name), piece(8, &packed)].concat()));
    }
    piece(1, &out)
}

/// A tensor with `bytes` of data that nobody reads.
fn tensor(name: &str, dims: &[u64], bytes: usize) -> Vec<u8> {
    let dims: Vec<u8> = dims.iter().flat_map(|dim| number(1, *dim)).collect();
    piece(5, &[dims, number(2, 1), text(8, name), piece(9, &vec![0; bytes])].concat())
}

fn input(name: &str, dims: &[u64]) -> Vec<u8> {
    let dims: Vec<u8> =
        dims.iter().flat_map(|dim| piece(1, &if *dim == 0 { text(2, "open") } else { number(1, *dim) })).collect();
    piece(11, &[text(1, name), piece(2, &piece(1, &piece(2, &dims)))].concat())
}

fn load(parts: &[Vec<u8>], options: &Options) -> Result<Workload> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("net.onnx");
    std::fs::write(&path, piece(7, &parts.concat())).unwrap();
    read(&path, "net", options)
}

fn residual_net() -> Vec<Vec<u8>> {
    vec![
        input("x", &[0, 4, 8, 8]),
        tensor("w1", &[8, 4, 3, 3], 1152),
        tensor("w2", &[8, 8, 1, 1], 256),
        tensor("b", &[8], 32),
        tensor("fc", &[10, 512], 20480),
        node("Conv", &["x", "w1"], "c1", &[("pads", &[1, 1, 1, 1]), ("kernel_shape", &[3, 3])]),
        node("BatchNormalization", &["c1", "b", "b", "b", "b"], "n1", &[]),
        node("Relu", &["n1"], "r1", &[]),
        node("Conv", &["r1", "w2", "b"], "c2", &[]),
        node("Add", &["c2", "r1"], "sum", &[]),
        node("Relu", &["sum"], "r2", &[]),
        node("Flatten", &["r2"], "flat", &[]),
        node("Gemm", &["flat", "fc"], "y", &[("transB", &[1])]),
        piece(12, &text(1, "y")),
    ]
}

#[test]
fn shapes_follow_from_inputs_and_what_follows_a_product_is_its_epilogue() {
    let workload = load(&residual_net(), &Options { batch: Some(2), ..Options::default() }).unwrap();
    let shapes: Vec<String> = workload.layers.iter().map(|Layer { kind, .. }| kind.shape()).collect();
    assert_eq!(shapes, ["2 of 8x8x4 to 8, 3x3/1", "2 of 8x8x8 to 8, 1x1/1", "2x10x512"]);
    let then = |at: usize| match workload.layers[at].kind {
        Kind::Conv(conv) => conv.then,
        Kind::Gemm(gemm) => gemm.then,
        other => panic!("{other:?}"),
    };
    let relu = Some(Act::Relu);
    assert_eq!(then(0), Epilogue { bias: true, act: relu, residual: false });
    assert_eq!(then(1), Epilogue { bias: true, act: relu, residual: true });
    assert_eq!(then(2), Epilogue::default());
    assert_eq!(workload.layers[0].name, "the-c1");
}

#[test]
fn what_two_read_is_a_layer_of_its_own() {
    let mut parts = residual_net();
    parts.insert(8, node("Relu", &["n1"], "again", &[]));
    let workload = load(&parts, &Options::default()).unwrap();
    let kinds: Vec<&str> = workload.layers.iter().map(|layer| layer.kind.name()).collect();
    assert_eq!(kinds, ["conv", "relu", "relu", "conv", "gemm"]);
}

#[test]
fn an_op_that_is_not_served_is_named() {
    let mut parts = residual_net();
    parts.insert(9, node("LRN", &["c2"], "odd", &[]));
    let error = load(&parts, &Options::default()).unwrap_err();
    let shown = error.render(false);
    assert!(error.kind().exit_code() == 4 && shown.contains("the-odd") && shown.contains("LRN"), "{shown}");
    let open = vec![input("x", &[1, 0]), tensor("w", &[4, 4], 64), node("MatMul", &["x", "w"], "y", &[])];
    let shown = load(&open, &Options::default()).unwrap_err().render(false);
    assert!(shown.contains("left open") && shown.contains("--seq"), "{shown}");
    assert!(load(&open, &Options { seq: Some(4), ..Options::default() }).is_ok());
}

#[test]
fn broken_files_are_refused_and_never_believed() {
    let whole = piece(7, &residual_net().concat());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("net.onnx");
    for cut in 0..whole.len().min(400) {
        std::fs::write(&path, &whole[..cut]).unwrap();
        assert!(read(&path, "net", &Options::default()).is_err(), "cut at {cut}");
    }
    // A length of 2^60 in front of nothing.
    std::fs::write(&path, [varint(7 << 3 | 2), varint(1 << 60)].concat()).unwrap();
    let shown = read(&path, "net", &Options::default()).unwrap_err().render(false);
    assert!(shown.contains("longer than what holds it"), "{shown}");
    for seed in 0..400usize {
        let mut bytes = whole.clone();
        let at = seed * 7919 % bytes.len();
        bytes[at] ^= 1 << (seed % 8);
        std::fs::write(&path, &bytes).unwrap();
        if let Ok(workload) = read(&path, "net", &Options::default()) {
            assert!(workload.layers.len() <= 8, "seed {seed}");
        }
    }
}

#[test]
fn options_without_an_open_axis_are_refused() {
    let closed = vec![input("x", &[1, 4]), tensor("w", &[4, 4], 64), node("MatMul", &["x", "w"], "y", &[])];
    let (batch, seq) =
        (Options { batch: Some(2), ..Options::default() }, Options { seq: Some(2), ..Options::default() });
    for (options, name) in [(&batch, "--batch"), (&seq, "--seq")] {
        let error = load(&closed, options).unwrap_err();
        assert!(error.kind().exit_code() == 2 && error.message().contains(name), "{error}");
    }
    assert!(load(&residual_net(), &seq).is_err() && load(&residual_net(), &batch).is_ok());
}

#[test]
fn odd_inputs_are_short_and_plain_errors() {
    let product =
        |dims: &[u64]| vec![input("x", dims), tensor("w", &[4, 4], 64), node("MatMul", &["x", "w"], "y", &[])];
    let error = load(&product(&vec![4; 100_000]), &Options::default()).unwrap_err().render(false);
    assert!(error.len() < 300 && error.contains("100000 axes"), "{error}");
    let minus = load(&product(&[1, u64::MAX, 4]), &Options::default()).unwrap_err().to_string();
    assert!(minus.contains("axis 1 of input `x` is left open (`-1`)"), "{minus}");
    let named = vec![input("x\u{1b}[31m", &[1, 4])];
    let error = load(&named, &Options::default()).unwrap_err().render(false);
    assert!(error.contains("a name with a control character") && !error.contains('\u{1b}'), "{error}");
}

#[test]
fn axes_are_there_and_named_once() {
    let net = |op: &str, axes: &[i64]| {
        let parts = vec![
            input("x", &[2, 1, 4, 1]),
            tensor("w", &[4, 4], 64),
            node(op, &["x"], "v", &[("axes", axes)]),
            node("Flatten", &["v"], "f", &[("axis", &[1])]),
            node("MatMul", &["f", "w"], "y", &[]),
        ];
        load(&parts, &Options::default()).map(|_| ()).map_err(|error| error.to_string())
    };
    for (op, axes) in [
        ("Squeeze", &[4][..]),
        ("Squeeze", &[1, 1]),
        ("Squeeze", &[-5]),
        ("Unsqueeze", &[6, 0]),
        ("Unsqueeze", &[0, 0]),
    ] {
        let said = net(op, axes).unwrap_err();
        assert!(said.contains(&format!("axes {axes:?} of [2, 1, 4, 1]")), "{op}: {said}");
    }
    // [2, 4] and [1, 2, 1, 4, 1] flattened behind the first axis.
    assert_eq!(net("Squeeze", &[-1, 1]), Ok(()));
    assert!(net("Unsqueeze", &[0]).unwrap_err().contains("[1, 8]"));
}

#[test]
fn what_contradicts_itself_is_refused() {
    let net = |replaced: &str, by: Vec<u8>| {
        let mut parts = residual_net();
        let at = parts.iter().position(|part| part.windows(replaced.len()).any(|name| name == replaced.as_bytes()));
        parts[at.unwrap()] = by;
        load(&parts, &Options::default()).map(|_| ()).map_err(|error| error.to_string())
    };
    let conv = |inputs: &[&str], size: i64| {
        node("Conv", inputs, "c1", &[("pads", &[1, 1, 1, 1]), ("kernel_shape", &[size, size])])
    };
    let fc = |bias: &str| node("Gemm", &["flat", "fc", bias], "y", &[("transB", &[1])]);
    let norm = |inputs: &[&str]| node("BatchNormalization", inputs, "n1", &[]);
    let mask = |name: &str| {
        piece(1, &[text(1, "sum"), text(2, "r2"), text(2, name), text(3, "the-r2"), text(4, "Dropout")].concat())
    };
    for (replaced, by, said) in [
        ("the-c1", conv(&["x", "w1"], 5), "kernel_shape is [5, 5]"),
        ("the-c1", conv(&["x", "w1", "w2"], 3), "input 2 is [8, 8, 1, 1]: it has one number for each of 8 channels"),
        ("the-n1", norm(&["c1", "b", "b", "b", "fc"]), "input 4 is [10, 512]"),
        ("the-y", fc("b"), "a bias of [8] for a product of [1, 10]"),
        ("the-r2", node("Relu", &["sum"], "r1", &[]), "its output `r1` is an input, a constant or made by another"),
        ("the-r2", mask("c1"), "its output `c1` is an input"),
        ("the-y", node("Gemm", &["flat", "fc"], "z", &[("transB", &[1])]), "no node makes the output `y`"),
        ("the-y", input("x", &[1, 4, 8, 8]), "two inputs are called `x`"),
        ("the-y", tensor("b", &[9], 36), "two constants are called `b`"),
        ("the-y", input("b", &[4]), "`b` is said to be [4], but is [8]"),
        ("the-y", piece(11, &text(1, "z")), "the input `z` has no shape"),
        ("the-n1", norm(&["c1", "b", "b"]), "3 inputs: image, scale, bias, mean and variance are five"),
    ] {
        let error = net(replaced, by).unwrap_err();
        assert!(error.contains(said), "{error}");
    }
    let wrong = piece(12, &input("y", &[1, 11])[2..]);
    let mut parts = residual_net();
    *parts.last_mut().unwrap() = wrong;
    let error = load(&parts, &Options::default()).unwrap_err().to_string();
    assert!(error.contains("`y` is said to be [1, 11], but is [1, 10]"), "{error}");
    let mut parts = residual_net();
    *parts.last_mut().unwrap() = piece(12, &input("y", &[])[2..]);
    assert!(load(&parts, &Options::default()).is_ok());
    // An input without a name is one left out.
    assert_eq!(net("the-c1", conv(&["x", "w1", ""], 3)), Ok(()));
    assert_eq!(net("the-y", fc("")), Ok(()));
}

#[test]
fn constants_are_so_whatever_makes_them() {
    let held = |name: &str, field: Vec<u8>| {
        piece(1, &[text(2, name), text(3, name), text(4, "Constant"), piece(5, &field)].concat())
    };
    let net = |shape: Vec<u8>| {
        let parts = [
            input("x", &[2, 8]),
            tensor("w", &[8, 4], 128),
            tensor("b", &[4], 16),
            shape,
            node("Identity", &["shape"], "same", &[]),
            node("Identity", &["b"], "bias", &[]),
            node("MatMul", &["x", "w"], "xw", &[]),
            node("Add", &["xw", "bias"], "sum", &[]),
            node("Reshape", &["sum", "same"], "y", &[]),
        ];
        let kinds = |workload: Workload| workload.layers.iter().map(|layer| layer.kind.shape()).collect::<Vec<_>>();
        load(&parts, &Options::default()).map(kinds).map_err(|error| error.to_string())
    };
    let numbers: Vec<u8> = [4i64, 2].iter().flat_map(|value| varint(*value as u64)).collect();
    assert_eq!(net(held("shape", [text(1, "value_ints"), piece(8, &numbers)].concat())), Ok(vec!["2x4x8".to_owned()]));
    assert_eq!(net(held("shape", [text(1, "value_int"), number(3, 8)].concat())), Ok(vec!["2x4x8".to_owned()]));
    let float = held("shape", [text(1, "value_float"), vec![2 << 3 | 5, 0, 0, 0, 0]].concat());
    assert!(net(float).unwrap_err().contains("the new shape is no constant"));
}

#[test]
fn softmax_is_over_what_its_version_says() {
    let rows = |opset: Option<u64>, axis: &[i64]| {
        let attributes: &[(&str, &[i64])] = if axis.is_empty() { &[] } else { &[("axis", axis)] };
        let graph = [input("x", &[2, 3, 4]), node("Softmax", &["x"], "y", attributes)].concat();
        let version = opset.map_or(Vec::new(), |version| piece(8, &number(2, version)));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("net.onnx");
        std::fs::write(&path, [piece(7, &graph), version].concat()).unwrap();
        read(&path, "net", &Options::default()).map(|workload| workload.layers[0].kind.shape())
    };
    for (opset, axis, shape) in [
        (None, &[][..], "6x4"),
        (Some(13), &[], "6x4"),
        (Some(12), &[], "2x12"),
        (Some(12), &[2], "6x4"),
        (Some(12), &[0], "1x24"),
        (Some(12), &[-1], "6x4"),
    ] {
        assert_eq!(rows(opset, axis).unwrap(), shape, "{opset:?} {axis:?}");
    }
    assert!(rows(Some(13), &[1]).is_err());
}
