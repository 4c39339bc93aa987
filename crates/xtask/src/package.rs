//! `cargo xtask package`: release builds for AWS in `dist/<function>/bootstrap`.

use std::{
    io::IsTerminal,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use object::{
    Endianness,
    read::elf::{ElfFile64, FileHeader as _, SectionHeader as _},
};

use crate::{build, process, project::Project, term};

/// The newest glibc that `provided.al2023` has.
const NEWEST_GLIBC: (u32, u32) = (2, 34);

/// The processor to build for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Architecture {
    /// `x86_64`
    #[value(name = "x86_64")]
    X86,
    /// `arm64`
    #[value(name = "arm64")]
    Arm,
}

/// Builds every function for AWS.
pub fn functions(project: &Project, architecture: Architecture) -> Result<()> {
    let functions = project.functions()?;
    let native = if cfg!(target_arch = "x86_64") { Architecture::X86 } else { Architecture::Arm };
    let from = if architecture == native { self::native(project)? } else { cross(project, architecture)? };
    let dist = project.path("dist");
    build::install(project, &from, &dist)?;

    let mut rows = vec![["FUNCTION", "SIZE", "NEEDS"].map(str::to_owned).to_vec()];
    let mut too_new = vec![];
    for function in &functions {
        let bootstrap = dist.join(function).join("bootstrap");
        let bytes = std::fs::read(&bootstrap)?;
        let (major, minor) = glibc(&bytes).with_context(|| format!("{} cannot be read", bootstrap.display()))?;
        if (major, minor) > NEWEST_GLIBC {
            too_new.push(format!("{function} needs glibc {major}.{minor}"));
        }
        rows.push(vec![function.clone(), term::megabytes(bytes.len() as u64), format!("glibc {major}.{minor}")]);
    }
    term::line(&term::table(&rows));
    if !too_new.is_empty() {
        bail!(
            "{}: provided.al2023 has 2.34. Build on an older system, or with cargo-lambda, which brings its own linker",
            too_new.join(", ")
        );
    }
    term::line("\nNext: sam deploy --template-file infra/template.yaml --guided (README, \"Deploy\")");
    Ok(())
}

/// Builds every function with the release profile for this machine's processor; the folder that they lie in.
pub fn native(project: &Project) -> Result<PathBuf> {
    let mut build = process::cargo(project.root());
    build.args(["build", "--release", "--locked", "--bins"]).args(packages(project)?);
    if !std::io::stderr().is_terminal() {
        build.arg("--quiet");
    }
    process::run(&mut build)?;
    Ok(build::target_folder(project)?.join("release"))
}

fn packages(project: &Project) -> Result<Vec<String>> {
    Ok(project.functions()?.into_iter().flat_map(|name| ["--package".to_owned(), name]).collect())
}

fn cross(project: &Project, architecture: Architecture) -> Result<PathBuf> {
    let (word, triple) = match architecture {
        Architecture::Arm => ("arm64", "aarch64-unknown-linux-gnu"),
        Architecture::X86 => ("x86_64", "x86_64-unknown-linux-gnu"),
    };
    if !process::is_installed("cargo-lambda") {
        bail!(
            "building for {word} on this machine needs cargo-lambda: python3 -m pip install cargo-lambda \
             (it brings the linker), and rustup target add {triple}"
        );
    }
    let mut build = process::cargo(project.root());
    build.args(["lambda", "build", "--release", "--locked", "--output-format", "binary"]);
    build.args(["--target", &format!("{triple}.2.34")]).args(packages(project)?);
    process::run(&mut build)?;
    let lambda = build::target_folder(project)?.join("lambda");
    // cargo-lambda calls each file bootstrap, in a folder of the function's name.
    let flat = lambda.join(".flat");
    std::fs::create_dir_all(&flat)?;
    for function in project.functions()? {
        std::fs::copy(lambda.join(&function).join("bootstrap"), flat.join(&function))?;
    }
    Ok(flat)
}

/// The newest version of glibc that an ELF file asks for; 0.0 where it asks for none.
fn glibc(elf: &[u8]) -> Result<(u32, u32)> {
    let file: ElfFile64<'_, Endianness> = ElfFile64::parse(elf)?;
    let endian = file.endian();
    let sections = file.elf_header().sections(endian, elf)?;
    let mut newest = (0, 0);
    for section in sections.iter() {
        let Some((mut needs, strings)) = section.gnu_verneed(endian, elf)? else { continue };
        let strings = sections.strings(endian, elf, strings)?;
        while let Some((_, mut versions)) = needs.next()? {
            while let Some(version) = versions.next()? {
                let name = String::from_utf8_lossy(version.name(endian, strings)?);
                if let Some(found) = name.strip_prefix("GLIBC_").and_then(parse_version) {
                    newest = newest.max(found);
                }
            }
        }
    }
    Ok(newest)
}

/// The newest version of glibc that a file asks for.
pub fn glibc_of(path: &Path) -> Result<(u32, u32)> {
    glibc(&std::fs::read(path)?)
}

fn parse_version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_a_symbol_is_read() {
        assert_eq!(parse_version("2.34"), Some((2, 34)));
        assert_eq!(parse_version("2.2.5"), Some((2, 2)));
        assert_eq!(parse_version("PRIVATE"), None);
    }

    #[test]
    fn what_this_program_asks_for_is_found() {
        if cfg!(all(target_os = "linux", target_env = "gnu")) {
            let (major, _) = glibc_of(&std::env::current_exe().unwrap()).unwrap();
            assert_eq!(major, 2);
        }
    }
}
