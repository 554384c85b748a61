//! NumPy's `.npy` container, version 1.0: what `numpy.load` reads.

/// A C-ordered little-endian f32 array as the bytes of a `.npy` file.
///
/// ```
/// let bytes = preon::report::npy(&[2], &[1.0, -2.5]);
/// assert_eq!(&bytes[..6], b"\x93NUMPY");
/// assert_eq!(bytes.len() % 64, 8);
/// ```
pub fn npy(shape: &[usize], values: &[f32]) -> Vec<u8> {
    let extents: String = shape.iter().map(|extent| format!("{extent}, ")).collect();
    let shape = if shape.len() > 1 { extents.trim_end_matches(", ") } else { extents.trim_end() };
    let mut header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({shape}), }}");
    // Magic, version, length and header fill a multiple of 64 bytes; the header ends in a newline.
    let padding = 64 - (10 + header.len() + 1) % 64;
    header.push_str(&" ".repeat(padding % 64));
    header.push('\n');
    let mut out = b"\x93NUMPY\x01\x00".to_vec();
    out.extend((header.len() as u16).to_le_bytes());
    out.extend(header.as_bytes());
    out.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_aligned_and_say_the_shape() {
        for (shape, text) in
            [(&[][..], "()"), (&[5][..], "(5,)"), (&[2, 3][..], "(2, 3)"), (&[1, 2, 3][..], "(1, 2, 3)")]
        {
            let count = shape.iter().product();
            let bytes = npy(shape, &vec![1.5; count]);
            let length = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
            assert_eq!((10 + length) % 64, 0);
            let header = std::str::from_utf8(&bytes[10..10 + length]).unwrap();
            assert!(header.contains(&format!("'shape': {text}, }}")) && header.ends_with('\n'), "{header}");
            assert_eq!(bytes.len(), 10 + length + 4 * count);
        }
    }
}
