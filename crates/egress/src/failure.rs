//! What went wrong with a call, in our own words: the client's would repeat the address with the key in it.

use std::{error::Error, io};

use playbook::lookup::CallError;

use crate::resolver::{NotAdmitted, Unresolved};

/// The reason of a failure, by its innermost causes.
pub fn told(error: &reqwest::Error) -> CallError {
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(told) = by_cause(cause, error.is_connect()) {
            return told;
        }
        source = cause.source();
    }
    if error.is_timeout() {
        CallError::Timeout
    } else if error.is_builder() {
        CallError::Refused("not a request".to_owned())
    } else if error.is_connect() {
        CallError::Unreachable("no connection".to_owned())
    } else {
        CallError::Unreachable("the connection broke".to_owned())
    }
}

fn by_cause(cause: &(dyn Error + 'static), is_connecting: bool) -> Option<CallError> {
    if cause.is::<NotAdmitted>() {
        return Some(CallError::Refused("no public address, and no private one that the policy names".to_owned()));
    }
    if cause.is::<Unresolved>() {
        return Some(CallError::Dns);
    }
    if let Some(tls) = cause.downcast_ref::<rustls::Error>() {
        return Some(no_tls(tls));
    }
    let io = cause.downcast_ref::<io::Error>()?;
    // What lies in an I/O error is not among its causes.
    if let Some(inner) = io.get_ref() {
        let inner: &(dyn Error + 'static) = inner;
        if let Some(told) = by_cause(inner, is_connecting) {
            return Some(told);
        }
    }
    // Nothing is read while connecting but the handshake.
    let is_cut = is_connecting && io.kind() == io::ErrorKind::UnexpectedEof;
    is_cut.then(|| CallError::Tls("the handshake was cut off".to_owned()))
}

fn no_tls(error: &rustls::Error) -> CallError {
    let is_certificate = matches!(error, rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented);
    CallError::Tls(if is_certificate { "the certificate is not good" } else { "the handshake failed" }.to_owned())
}
