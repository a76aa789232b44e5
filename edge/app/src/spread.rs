//! Choices that look random and are the same wherever they are made.
//!
//! One shop has one page, whether a 64-bit PoP or a 32-bit Worker renders it. So what a page chooses by a name comes from
//! here, and never from `usize` arithmetic or from the order of a hash map.

/// FNV-1a in its 64-bit form (RFC 9923): the same on every machine and in every release.
pub(crate) fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// One of `count` places, by name; the first if there is none.
pub(crate) fn place(name: &str, count: usize) -> usize {
    let count = u64::try_from(count).unwrap_or(u64::MAX).max(1);
    usize::try_from(hash(name) % count).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_the_hash_that_the_standard_says() {
        assert_eq!(hash(""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(hash("a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(hash("foobar"), 0x8594_4171_f739_67e8);
    }

    /// Half of the hash, all that 32 bits hold, would choose 19, 11 and 16.
    #[test]
    fn a_name_has_its_place_on_machines_of_every_width() {
        let names = ["vintage-red-mug-21066", "red-retrospot-mug", "globe"];
        assert_eq!(names.map(|name| place(name, 23)), [10, 20, 5]);
        assert_eq!(place("globe", 0), 0);
    }
}
