//! Certificates to trust beside the public authorities', as settings name them.

/// Reads a file of certificates in PEM form; none if no file is named. `parse` makes them those of a client.
///
/// # Errors
/// The end of a sentence on the file.
pub(super) fn certificates<C, E>(
    file: Option<&str>,
    parse: impl Fn(&[u8]) -> Result<Vec<C>, E>,
) -> Result<Vec<C>, String> {
    let Some(file) = file else {
        return Ok(Vec::new());
    };
    let unusable = |why: &str| format!("{file}: {why}; name a file of certificates in PEM form");
    let pem = std::fs::read(file).map_err(|error| unusable(&error.to_string()))?;
    let certificates = parse(&pem).map_err(|_| unusable("its certificates cannot be read"))?;
    if certificates.is_empty() {
        return Err(unusable("there is no certificate in it"));
    }
    Ok(certificates)
}
