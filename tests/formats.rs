//! `preon formats` on streams: what goes in comes out as the table says, in pieces of any length.

use assert_cmd::Command;

fn preon(arguments: &[&str], input: &[u8]) -> Vec<u8> {
    let output =
        Command::new(env!("CARGO_BIN_EXE_preon")).arg("formats").args(arguments).write_stdin(input).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn fails(arguments: &[&str], input: &[u8]) -> (Option<i32>, String) {
    let output =
        Command::new(env!("CARGO_BIN_EXE_preon")).arg("formats").args(arguments).write_stdin(input).output().unwrap();
    assert!(output.stdout.is_empty(), "{arguments:?} fails and prints");
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

fn stream(x: &[f32]) -> Vec<u8> {
    x.iter().flat_map(|x| x.to_le_bytes()).collect()
}

/// More values than one piece holds, of many magnitudes.
fn values(count: u32) -> Vec<f32> {
    (0..count).map(|i| (i.wrapping_mul(2_654_435_761) as i32) as f32 / 2f32.powi(28)).collect()
}

#[test]
fn round_is_encode_and_decode_for_every_layout() {
    let x = stream(&values(70_007));
    for format in ["fp8e4m3", "ternary", "fp4e2m1", "fp6e3m2", "int3", "bf16", "int16", "tf32", "nf4", "log8"] {
        let rounded = preon(&["round", format], &x);
        let codes = preon(&["encode", format], &x);
        assert!(preon(&["decode", format], &codes) == rounded, "{format}");
        for cols in ["70007", "10001"] {
            let packed = preon(&["encode", format, "--packed", "--cols", cols], &x);
            let again = preon(&["decode", format, "--packed", "--cols", cols, "--count", "70007"], &packed);
            assert!(again == rounded, "{format} --cols {cols}");
        }
    }
}

#[test]
fn block_formats_keep_their_scales_in_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("scales");
    let scales = path.to_str().unwrap();
    let x = stream(&values(48 * 70));
    for (format, block, bytes) in [
        ("mxfp4", "1x32", 48 * 3),
        ("mxfp6e2m3", "1x32", 48 * 3),
        ("mxint8", "1x16", 48 * 5),
        ("mxfp8e5m2", "1x32", 48 * 3),
        ("mxfp6e3m2", "16x16", 3 * 5),
        ("mxfp4", "5x8", 10 * 9),
        ("nvfp4", "1x16", 4 + 48 * 5),
        ("nvfp4", "16x16", 4 + 3 * 5),
    ] {
        let shape = ["--cols", "70", "--block", block];
        let with = |verb: &[&'static str]| [verb, &shape].concat();
        let rounded = preon(&with(&["round", format]), &x);
        for packed in [&["--scales", scales][..], &["--scales", scales, "--packed"]] {
            let codes = preon(&[&with(&["encode", format])[..], packed].concat(), &x);
            assert_eq!(std::fs::metadata(&path).unwrap().len(), bytes, "{format}");
            assert!(
                preon(&[&with(&["decode", format])[..], packed].concat(), &codes) == rounded,
                "{format} {packed:?}"
            );
        }
    }
    assert_eq!(fails(&["encode", "mxfp4"], &x).0, Some(2));
    assert_eq!(fails(&["round", "nvfp4", "--cols", "33"], &x).0, Some(3));
    assert_eq!(fails(&["round", "mxfp4", "--block", "2x32"], &x).0, Some(2));
    assert_eq!(fails(&["round", "mxfp4", "--cols", "33"], &x).0, Some(3));
}

#[test]
fn colours_keep_scales_of_every_row_and_gguf_blocks_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("scales");
    let scales = path.to_str().unwrap();
    let x = stream(&values(256 * 3));
    for (format, planes) in [("colour2", 2), ("colour3", 3), ("colour4", 4)] {
        for (cols, rows) in [(&["--cols", "96"][..], 8), (&[], 1)] {
            let rounded = preon(&[&["round", format], cols].concat(), &x);
            for packed in [&["--scales", scales][..], &["--scales", scales, "--packed"]] {
                let codes = preon(&[&["encode", format], cols, packed].concat(), &x);
                assert_eq!(std::fs::metadata(&path).unwrap().len(), 4 * planes * rows);
                let decoded = preon(&[&["decode", format, "--count", "768"], cols, packed].concat(), &codes);
                assert!(decoded == rounded, "{format} {cols:?} {packed:?}");
            }
        }
    }
    for (format, bytes) in [("gguf-q4_0", 24 * 18), ("gguf-tq1_0", 3 * 54), ("gguf-i2_s", 6 * 32 + 32)] {
        let blocks = preon(&["encode", format], &x);
        assert_eq!(blocks.len(), bytes, "{format}");
        assert!(preon(&["decode", format], &blocks) == preon(&["round", format], &x), "{format}");
    }
    assert_eq!(preon(&["round", "fp64"], &x), x);
    for name in ["fp64", "mxfp4", "nvfp4", "colour3", "gguf-q4_0"] {
        let text = String::from_utf8(preon(&["show", name], &[])).unwrap();
        assert!(text.starts_with(name), "{text}");
        assert!(String::from_utf8(preon(&["list"], &[])).unwrap().contains(name));
    }
}

#[test]
fn modes_and_specials() {
    let x = stream(&[1.0625, -1.0625, 1e9, f32::NAN, f32::INFINITY]);
    let code = |arguments: &[&str]| preon(&[&["encode", "fp8e4m3"], arguments].concat(), &x);
    assert_eq!(code(&[]), [0x38, 0xb8, 0x7e, 0x7f, 0x7e]);
    assert_eq!(code(&["--no-saturate"]), [0x38, 0xb8, 0x7f, 0x7f, 0x7f]);
    assert_eq!(code(&["--mode", "rna"]), [0x39, 0xb9, 0x7e, 0x7f, 0x7e]);
    assert_eq!(code(&["--mode", "up"]), [0x39, 0xb8, 0x7e, 0x7f, 0x7e]);
    assert_eq!(code(&["--mode", "down", "--no-saturate"]), [0x38, 0xb9, 0x7e, 0x7f, 0x7f]);
    let draw = |seed: &str| preon(&["encode", "binary", "--mode", "sr", "--seed", seed], &stream(&[0.0; 64]));
    assert_eq!(draw("1"), draw("1"));
    assert_ne!(draw("1"), draw("2"));
}

#[test]
fn draws_come_from_a_file_too_and_the_p_bit_is_for_binary() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("draws");
    let draws: Vec<u8> = (0..4u32).flat_map(|r| (r | 0xff00).to_le_bytes()).collect();
    std::fs::write(&path, draws).unwrap();
    let file = path.to_str().unwrap();
    let code = |format: &str, mode: &str, x: f32| {
        preon(&["encode", format, "--mode", mode, "--bits", "2", "--draws", file], &stream(&[x; 4]))
    };
    // 3/4 of the way from 1 to 2; a tie of 1/8 to even and to odd.
    assert_eq!(code("int8", "sr", 1.75), [1, 2, 2, 2]);
    assert_eq!([code("int8", "sr", 1.125), code("int8", "srodd", 1.125)], [[1, 1, 1, 1], [1, 1, 1, 2]]);
    // +1 (code 0) with probability (1 + 0.5) / 2, and sigmoid(0) = 1/2; NaN is +1.
    assert_eq!(code("binary", "pclip", 0.5), [0, 0, 0, 1]);
    assert_eq!(code("binary", "psigmoid", 0.0), [0, 0, 1, 1]);
    assert_eq!(code("binary", "psigmoid", f32::NAN), [0; 4]);
    let x = stream(&[0.0; 5]);
    assert_eq!(fails(&["encode", "int8", "--mode", "sr", "--draws", file], &x).0, Some(3));
    assert_eq!(fails(&["encode", "int8", "--draws", file], &x).0, Some(2));
    assert_eq!(fails(&["encode", "int8", "--mode", "pclip"], &x).0, Some(4));
    assert_eq!(fails(&["encode", "mxfp4", "--scales", file, "--mode", "psigmoid"], &x).0, Some(4));
}

#[test]
fn a_p_bit_is_plus_one_as_often_as_its_probability_says() {
    let count = 40_000;
    for (mode, x, p) in [("psigmoid", 0.8f32, 0.689_974), ("psigmoid", -3.0, 0.047_426), ("pclip", -0.4, 0.3)] {
        let drawn = preon(&["encode", "binary", "--mode", mode, "--seed", "5"], &stream(&vec![x; count]));
        let share = drawn.iter().filter(|code| **code == 0).count() as f64 / count as f64;
        let deviation: f64 = p * (1.0 - p) / count as f64;
        assert!((share - p).abs() < 4.0 * deviation.sqrt(), "{mode} {x}: {share} for {p}");
    }
}

#[test]
fn broken_streams_and_names_are_refused() {
    assert_eq!(fails(&["round", "fp8e4m3"], &[0; 6]).0, Some(3));
    assert_eq!(fails(&["decode", "bf16"], &[0; 3]).0, Some(3));
    assert_eq!(fails(&["decode", "int8", "--count", "9"], &[0; 3]).0, Some(3));
    let (code, text) = fails(&["encode", "fp64"], &[]);
    assert!(code == Some(4) && text.contains("reference"), "{text}");
    assert_eq!(fails(&["encode", "gguf-q8_0"], &[0; 4]).0, Some(3));
    assert_eq!(preon(&["round", "fp8e4m3"], &[]), []);
}

/// A stream that ends inside a row, or inside an element, fails before anything is printed: whole where it is short or a
/// file.
#[test]
fn ragged_streams_print_nothing_and_flags_without_a_meaning_are_refused() {
    let x = stream(&[1.0, 2.0, 3.0, 4.0, 5.0]);
    let folder = tempfile::tempdir().unwrap();
    let scales = folder.path().join("scales");
    let scales = scales.to_str().unwrap();
    for arguments in [
        &["encode", "int8", "--cols", "3"][..],
        &["encode", "int4", "--cols", "3", "--packed"],
        &["round", "int8", "--cols", "3"],
        &["round", "nvfp4", "--cols", "3"],
        &["round", "mxfp4", "--cols", "3"],
        &["encode", "colour2", "--cols", "3", "--scales", scales],
    ] {
        let (code, text) = fails(arguments, &x);
        assert!(code == Some(3) && text.contains("5 elements are no rows of 3"), "{arguments:?}: {text}");
    }
    for (arguments, bytes) in [
        (&["decode", "int8", "--cols", "3"][..], 5),
        (&["decode", "int4", "--cols", "3", "--packed"], 5),
        (&["decode", "bf16"], 5),
        (&["round", "bf16"], 6),
        (&["decode", "int8", "--count", "9"], 5),
    ] {
        assert_eq!(fails(arguments, &vec![1; bytes]).0, Some(3), "{arguments:?}");
    }
    assert_eq!(preon(&["encode", "int8", "--cols", "5"], &x), [1, 2, 3, 4, 5]);
    assert_eq!(preon(&["decode", "int4", "--cols", "3", "--packed", "--count", "2"], &[0x21, 3]).len(), 8);
    // A large file: its length says what is wrong before it is read.
    let large = folder.path().join("large");
    std::fs::write(&large, vec![0; (4 << 20) + 2]).unwrap();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_preon"));
    let output =
        command.args(["formats", "round", "bf16"]).stdin(std::fs::File::open(&large).unwrap()).output().unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(3), 0));
    for (format, flag, value) in [
        ("int8", "--block", "1x32"),
        ("bf16", "--scales", scales),
        ("fp64", "--scale-rule", "ceil"),
        ("gguf-q8_0", "--scales", scales),
        ("colour2", "--block", "1x32"),
    ] {
        let (code, text) = fails(&["round", format, flag, value], &[]);
        assert!(code == Some(2) && text.contains(&format!("{flag} says nothing about {format}")), "{text}");
    }
}

#[test]
fn a_users_format_is_known_to_every_verb() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("my.toml");
    let row = "schema = \"preon.formats/1\"\n[[format]]\nname = \"mine\"\nbits = 3\nelement = \"log\"\nsteps = 2\nbias = 2\n\
        signed = true\nzero = true\nrule = \"absmax\"\nsaturate = true\ndoc = \"d\"\nsource = \"s\"\n";
    std::fs::write(&path, row).unwrap();
    let codes = preon(&["encode", "mine", "--formats", path.to_str().unwrap()], &stream(&[0.0, 1.0, 9.0, -1.0]));
    assert_eq!(codes, [0, 2, 3, 6]);
    assert_eq!(fails(&["show", "mine", "--formats", "nowhere.toml"], &[]).0, Some(3));
}
