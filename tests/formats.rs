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
    assert_eq!(fails(&["round", "mxfp4", "--block", "2x32"], &x).0, Some(4));
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
fn broken_streams_and_names_are_refused() {
    assert_eq!(fails(&["round", "fp8e4m3"], &[0; 6]).0, Some(3));
    assert_eq!(fails(&["decode", "bf16"], &[0; 3]).0, Some(3));
    assert_eq!(fails(&["decode", "int8", "--count", "9"], &[0; 3]).0, Some(3));
    let (code, text) = fails(&["round", "colour2"], &[]);
    assert!(code == Some(4) && text.contains("2 scaled sign planes"), "{text}");
    assert_eq!(preon(&["round", "fp8e4m3"], &[]), []);
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
