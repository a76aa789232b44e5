//! What a browser alone can read: the content coding aes128gcm (RFC 8188) under keys agreed on with the browser (RFC 8291).

use ring::agreement::{self, ECDH_P256, EphemeralPrivateKey, UnparsedPublicKey};
use ring::error::Unspecified;
use ring::rand::SystemRandom;
use ring::{aead, hkdf, rand};

/// Bytes of a public key: an uncompressed point of P-256.
pub(super) const PUBLIC_KEY: usize = 65;
/// Bytes of a browser's secret.
pub(super) const AUTH: usize = 16;
/// The size of a record: one holds all.
const RECORD: u32 = 4096;
/// Ends the last record (RFC 8188 section 2).
const LAST: u8 = 2;

/// The keys of a browser, made for one subscription.
#[derive(Clone, Copy)]
pub(super) struct Browser<'a> {
    pub(super) public_key: &'a [u8],
    pub(super) auth: &'a [u8],
}

/// `plaintext`, which must fit a record, sealed for `browser` under keys drawn for this message.
pub(super) fn seal(browser: Browser<'_>, plaintext: &[u8]) -> Result<Vec<u8>, Unspecified> {
    let random = SystemRandom::new();
    let private = EphemeralPrivateKey::generate(&ECDH_P256, &random)?;
    let public = private.compute_public_key()?;
    let salt: [u8; 16] = rand::generate(&random)?.expose();
    let theirs = UnparsedPublicKey::new(&ECDH_P256, browser.public_key);
    let key = agreement::agree_ephemeral(private, &theirs, |secret| keying(secret, browser, public.as_ref()))??;
    encode(&key, salt, public.as_ref(), plaintext)
}

/// The input keying material (RFC 8291 section 3.4).
fn keying(secret: &[u8], browser: Browser<'_>, ours: &[u8]) -> Result<[u8; 32], Unspecified> {
    derive(browser.auth, secret, &[b"WebPush: info\0", browser.public_key, ours])
}

/// One record with its header (RFC 8188 section 2).
fn encode(key: &[u8], salt: [u8; 16], key_id: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, Unspecified> {
    let content_key: [u8; 16] = derive(&salt, key, &[b"Content-Encoding: aes128gcm\0"])?;
    let nonce: [u8; 12] = derive(&salt, key, &[b"Content-Encoding: nonce\0"])?;
    let mut record = [plaintext, &[LAST]].concat();
    let content_key = aead::LessSafeKey::new(aead::UnboundKey::new(&aead::AES_128_GCM, &content_key)?);
    // The first and only record: its number, 0, leaves the nonce as it is.
    let nonce = aead::Nonce::assume_unique_for_key(nonce);
    content_key.seal_in_place_append_tag(nonce, aead::Aad::empty(), &mut record)?;
    if record.len() > RECORD as usize {
        return Err(Unspecified);
    }
    let id_length = [u8::try_from(key_id.len()).map_err(|_| Unspecified)?];
    Ok([&salt[..], &RECORD.to_be_bytes(), &id_length, key_id, &record].concat())
}

/// HKDF with SHA-256 (RFC 5869).
fn derive<const N: usize>(salt: &[u8], secret: &[u8], info: &[&[u8]]) -> Result<[u8; N], Unspecified> {
    /// So many bytes.
    struct Bytes(usize);
    impl hkdf::KeyType for Bytes {
        fn len(&self) -> usize {
            self.0
        }
    }
    let mut derived = [0; N];
    hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(secret).expand(info, Bytes(N))?.fill(&mut derived)?;
    Ok(derived)
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::*;

    fn bytes(text: &str) -> Vec<u8> {
        URL_SAFE_NO_PAD.decode(text).unwrap()
    }

    fn array<const N: usize>(text: &str) -> [u8; N] {
        bytes(text).try_into().unwrap()
    }

    /// RFC 8188 section 3.1.
    #[test]
    fn the_walrus_of_rfc_8188_is_coded_as_there() {
        let key = bytes("yqdlZ-tYemfogSmv7Ws5PQ");
        let coded = encode(&key, array("I1BsxtFttlv3u_Oo94xnmw"), b"", b"I am the walrus").unwrap();
        assert_eq!(coded, bytes("I1BsxtFttlv3u_Oo94xnmwAAEAAA-NAVub2qFgBEuQKRapoZu-IxkIva3MEB1PD-ly8Thjg"));
    }

    /// RFC 8291 section 5 and appendix A.
    #[test]
    fn the_watermelon_of_rfc_8291_is_sealed_as_there() {
        let theirs = bytes("BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4");
        let ours = bytes("BP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A8");
        let auth = bytes("BTBZMqHH6r4Tts7J_aSIgg");
        let secret = bytes("kyrL1jIIOHEzg3sM2ZWRHDRB62YACZhhSlknJ672kSs");
        let browser = Browser { public_key: &theirs, auth: &auth };
        let key = keying(&secret, browser, &ours).unwrap();
        assert_eq!(key, array("S4lYMb_L0FxCeq0WhDx813KgSYqU26kOyzWUdsXYyrg"));
        let plaintext = b"When I grow up, I want to be a watermelon";
        let sealed = encode(&key, array("DGv6ra1nlYgDCS1FRnbzlw"), &ours, plaintext).unwrap();
        let expected = "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8w\
            EqKK6PBru3jl7A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN";
        assert_eq!(sealed, bytes(expected));
    }

    #[test]
    fn what_is_no_key_or_does_not_fit_is_refused() {
        let auth = [1; AUTH];
        assert!(seal(Browser { public_key: &[4; PUBLIC_KEY], auth: &auth }, b"x").is_err(), "not a point of the curve");
        let private = EphemeralPrivateKey::generate(&ECDH_P256, &SystemRandom::new()).unwrap();
        let public = private.compute_public_key().unwrap();
        let browser = Browser { public_key: public.as_ref(), auth: &auth };
        assert!(seal(browser, &[0; 4096 - 17]).is_ok());
        assert!(seal(browser, &[0; 4096 - 16]).is_err());
    }
}
