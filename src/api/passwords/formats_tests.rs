//! Tests of the formats: vectors of other programs, limits, and that no text at all makes trouble.

use proptest::prelude::*;

use super::super::compute::matches;
use super::*;
use crate::api::passwords::check_hash;

/// Password and hash: by the reference implementation of argon2, libxcrypt, and Python's `hashlib`.
const VECTORS: [(&str, &str); 13] = [
    ("password", "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4"),
    ("password", "$argon2i$v=19$m=256,t=2,p=1$c29tZXNhbHQ$iekCn0Y3spW+sCcFanM2xBT63UP2sghkUoHLIUpWRS8"),
    ("password", "$argon2i$m=256,t=2,p=1$c29tZXNhbHQ$/U3YPXYsSb3q9XxHvc0MLxur+GP960kN9j7emXX8zwY"),
    ("correct horse", "$2b$04$abcdefghijklmnopqrstuujydOTSfIH/d5oUHpsygqV5X9xJLQc6e"),
    ("correct horse", "$2a$04$abcdefghijklmnopqrstuujydOTSfIH/d5oUHpsygqV5X9xJLQc6e"),
    ("correct horse", "$2y$05$abcdefghijklmnopqrstuuHNbAKRhpaujgo33bRWs.NLUTJO3lOy2"),
    // The last character of the salt may have bits that mean nothing.
    ("correct horse", "$2b$04$abcdefghijklmnopqrstuvjydOTSfIH/d5oUHpsygqV5X9xJLQc6e"),
    ("pässwörd", "$2b$04$abcdefghijklmnopqrstuuyx2n0Zzopyr9QuYTMCfOJJOj526QVoC"),
    (EIGHTY, "$2b$04$abcdefghijklmnopqrstuubzadhGtS2zEF.gu0yd0opP6cVzb.e0i"),
    ("correct horse", "$scrypt$ln=10,r=8,p=2$c29tZXNhbHQxMjM0NTY3OA$MDXSgOxg1ceT/knSpQcO8enYuFfSgb0vgRbQAemv9v0"),
    ("correct horse", "$pbkdf2-sha256$i=1000,l=32$c29tZXNhbHQxMjM0NTY3OA$5rLk1DOPpR3gVlTT0jhzhZW5kKSyrMwtQEygB2hmxis"),
    ("correct horse", "$pbkdf2-sha256$i=1000$c29tZXNhbHQxMjM0NTY3OA$5rLk1DOPpR3gVlTT0jhzhZW5kKSyrMwtQEygB2hmxis"),
    (
        "correct horse",
        "$pbkdf2-sha512$i=1000$c29tZXNhbHQxMjM0NTY3OA$sWps1llwgbWXpLF38mZM6tcxgFkocPltUMVyBEGrSPfheU7eCsUOWcMZKKXmKO\
         ibitmvh5s5vvS80Lwu41zzQg",
    ),
];
const EIGHTY: &str = "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";
const ARGON2: &str = "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHQ$WVlZWVlZWVlZWVlZWVlZWVlZWVlZWVlZWVlZWVlZWVk";

fn right(hash: &str, password: &str) -> bool {
    matches(&Affordable::read(hash).unwrap(), &password.into())
}

#[test]
fn hashes_of_other_programs_verify_with_their_password_only() {
    for (password, hash) in VECTORS {
        assert!(right(hash, password), "{hash}");
        assert!(!right(hash, &format!("x{password}")) || password == EIGHTY, "{hash}");
        assert!(!right(hash, ""), "{hash}");
        assert_eq!(check_hash(hash).unwrap().expose(), hash, "it is kept as it came");
    }
}

#[test]
fn bcrypt_reads_72_bytes_and_takes_no_zero() {
    let hash = VECTORS[8].1;
    assert!(right(hash, &EIGHTY[..72]) && !right(hash, &EIGHTY[..71]));
    let hash = VECTORS[3].1;
    assert!(!right(hash, "correct horse\0") && !right(hash, "correct horse\0correct horse"));
}

#[test]
fn only_affordable_argon2_hashes_are_taken() {
    assert!(check_hash(ARGON2).is_ok());
    assert!(check_hash(&ARGON2.replace("v=19$", "")).is_ok());
    for (part, bad) in [
        ("m=19456", "m=4194304"),
        ("m=19456", "m=7"),
        ("m=19456", "m=+19456"),
        ("m=19456", "m=019456"),
        ("t=2", "t=17"),
        ("t=2", "t=0"),
        ("p=1", "p=17"),
        ("c29tZXNhbHQ", "c29t"),
        ("argon2id", "argon2"),
        ("v=19", "v=20"),
        (",p=1", ""),
        ("p=1", "p=1,data=AA"),
        ("$WVlZ", "$$WVlZ"),
    ] {
        assert!(check_hash(&ARGON2.replace(part, bad)).is_err(), "{part} -> {bad}");
    }
    for bad in ["", "plain", "$", "$$", "$1$salt$hash", "$6$salt$hash", &ARGON2.repeat(20)] {
        assert!(check_hash(bad).is_err());
    }
}

#[test]
fn a_refusal_names_the_limits_of_the_format_and_not_the_hash() {
    let scrypt = "$scrypt$ln=10,r=8,p=2$c29tZXNhbHQxMjM0NTY3OA$MDXSgOxg1ceT/knSpQcO8enYuFfSgb0vgRbQAemv9v0";
    let pbkdf2 = VECTORS[10].1;
    for (bad, named) in [
        (ARGON2.replace("m=19456", "m=4194304"), "m up to 262144"),
        (VECTORS[3].1.replace("$04$", "$16$"), "cost NN of 04 to 15"),
        (VECTORS[3].1.replace("$04$", "$03$"), "cost NN of 04 to 15"),
        (VECTORS[3].1.replace("$04$", "$4$"), "cost NN of 04 to 15"),
        (VECTORS[3].1.replace("$2b$", "$2x$"), "$2a$…, $2b$… or $2y$"),
        (VECTORS[3].1.replace('j', "!"), "53 characters"),
        (format!("{}.", VECTORS[3].1), "53 characters"),
        (scrypt.replace("ln=10", "ln=21"), "ln up to 20"),
        (scrypt.replace("ln=10,r=8", "ln=19,r=8"), "up to 256 MiB"),
        (scrypt.replace("ln=10,r=8,p=2", "ln=17,r=16,p=5"), "up to 1 GiB"),
        (scrypt.replace("ln=10,r=8,p=2", "r=8,ln=10,p=2"), "$scrypt$ln=..,r=..,p=.."),
        (pbkdf2.replace("i=1000", "i=2000001"), "i up to 2000000"),
        (pbkdf2.replace("i=1000", "i=0"), "i up to 2000000"),
        (pbkdf2.replace("l=32", "l=31"), "$pbkdf2-sha256$i=.."),
        (pbkdf2.replace("sha256", "sha1"), "$pbkdf2-sha512$…"),
    ] {
        let Err(invalid) = check_hash(&bad) else { panic!("{bad} is taken") };
        assert_eq!(invalid.code, "invalid_password_hash");
        assert!(invalid.message.contains(named), "{bad}: {}", invalid.message);
        assert!(!invalid.message.contains("c29tZXNhbHQ") && !invalid.message.contains("abcdefghij"));
    }
    let costs = ["ln=17,r=8,p=1", "ln=14,r=8,p=5", "ln=18,r=8,p=4", "ln=13,r=32,p=16"];
    for good in costs {
        assert!(check_hash(&scrypt.replace("ln=10,r=8,p=2", good)).is_ok(), "{good}");
    }
}

#[test]
fn whatever_is_not_argon2id_of_the_present_cost_is_weaker() {
    let weaker = |hash: &str| Affordable::read(hash).unwrap().scheme.is_weaker_than(19_456, 2);
    assert!(!weaker(ARGON2));
    assert!(!weaker(&ARGON2.replace("m=19456,t=2", "m=47104,t=1")), "as strong in another way");
    assert!(!weaker(&ARGON2.replace("t=2", "t=3")));
    assert!(weaker(&ARGON2.replace("m=19456", "m=19455")));
    assert!(weaker(&ARGON2.replace("m=19456,t=2", "m=9728,t=4")), "less memory");
    assert!(weaker(&ARGON2.replace("t=2", "t=1")));
    assert!(weaker(&ARGON2.replace("v=19", "v=16")));
    assert!(weaker(&ARGON2.replace("argon2id", "argon2i")));
    for (_, other) in &VECTORS[3..] {
        assert!(weaker(other), "{other}");
    }
}

/// A hash of any format with any costs, and whether they are within the limits.
fn of_any_cost() -> impl Strategy<Value = (String, bool)> {
    let tail = "$c29tZXNhbHQ$WVlZWVlZWVlZWVlZWVlZWQ";
    let small_or_large = |usual: u32| prop_oneof![0..usual, any::<u32>()];
    prop_oneof![
        (small_or_large(300_000), small_or_large(20), small_or_large(20)).prop_map(move |(m, t, p)| {
            let good = (1..=16).contains(&t) && (1..=16).contains(&p) && (8 * p..=262_144).contains(&m);
            (format!("$argon2id$v=19$m={m},t={t},p={p}{tail}"), good)
        }),
        (small_or_large(24), small_or_large(40), small_or_large(20)).prop_map(move |(ln, r, p)| {
            let each = (1..=20).contains(&ln) && (1..=32).contains(&r) && (1..=16).contains(&p);
            let bytes = if each { (128 * u64::from(r)) << ln } else { 0 };
            let good = each && bytes <= 256 << 20 && bytes * u64::from(p) <= 1 << 30;
            (format!("$scrypt$ln={ln},r={r},p={p}{tail}"), good)
        }),
        (small_or_large(3_000_000), any::<bool>()).prop_map(move |(i, long)| {
            let name = if long { "sha512" } else { "sha256" };
            (format!("$pbkdf2-{name}$i={i}{tail}"), (1..=2_000_000).contains(&i))
        }),
        (0..100_u32).prop_map(|cost| {
            (format!("$2b${cost:02}$abcdefghijklmnopqrstuujydOTSfIH/d5oUHpsygqV5X9xJLQc6e"), (4..=15).contains(&cost))
        }),
    ]
}

/// More than the costliest hash of each format: 16 passes over 256 MiB.
const WORK_MAX: u64 = 16 * 262_144;

proptest! {
    #[test]
    fn a_hash_is_taken_exactly_when_its_cost_is_within_the_limits((text, good) in of_any_cost()) {
        let read = Affordable::read(&text);
        prop_assert_eq!(read.is_ok(), good, "{}", text);
        if let Ok(read) = read {
            prop_assert!(read.scheme.work() <= WORK_MAX, "{} costs {}", text, read.scheme.work());
        }
    }

    #[test]
    fn a_hash_with_one_character_changed_is_refused_or_still_affordable(
        at in any::<prop::sample::Index>(), vector in 0..VECTORS.len(), to in any::<char>(),
    ) {
        let mut text: Vec<char> = VECTORS[vector].1.chars().collect();
        let at = at.index(text.len());
        text[at] = to;
        let text: String = text.into_iter().collect();
        if let Ok(read) = Affordable::read(&text) {
            prop_assert!(read.scheme.work() <= WORK_MAX, "{}", text);
        }
    }

    #[test]
    fn no_text_makes_trouble(text in "\\$?(argon2id|2b|scrypt|pbkdf2-sha256)?[$,=a-z0-9/+.ü]{0,80}") {
        let _ = Affordable::read(&text);
    }
}
