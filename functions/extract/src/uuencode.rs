//! Files that stand in a text, `begin 644 name` … `end`, as Unix and old Outlook send them.

/// A file in a text.
#[derive(Debug, PartialEq, Eq)]
pub struct File<'a> {
    /// As the first line has it.
    pub name: &'a str,
    /// Decoded.
    pub content: Vec<u8>,
}

/// The text without its files, and the files. A file ends at the first line that is none of its own.
pub fn split(text: &str) -> (String, Vec<File<'_>>) {
    let mut rest = String::new();
    let mut files = vec![];
    let mut lines = text.split_inclusive('\n').peekable();
    while let Some(line) = lines.next() {
        let decoded = lines.peek().and_then(|first| decode(first));
        let (Some(name), Some(mut content)) = (name(line), decoded) else {
            rest.push_str(line);
            continue;
        };
        keep_link(lines.next().unwrap_or(""), &mut rest);
        while let Some((line, more)) = lines.peek().and_then(|line| Some((*line, decode(line)?))) {
            content.extend(more);
            keep_link(line, &mut rest);
            lines.next();
        }
        lines.next_if(|line| line.trim_end() == "`" || line.trim().is_empty());
        lines.next_if(|line| line.trim_end() == "end");
        files.push(File { name, content });
    }
    (rest, files)
}

/// Mail programs that know no such files show them as text: a link among them can be seen.
fn keep_link(line: &str, rest: &mut String) {
    if line.contains("://") || line.contains("WWW.") {
        rest.push_str(line);
    }
}

fn name(line: &str) -> Option<&str> {
    let (mode, name) = line.strip_prefix("begin ")?.trim().split_once(' ')?;
    let is_mode = (3..=4).contains(&mode.len()) && mode.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
    (is_mode && !name.trim().is_empty()).then(|| name.trim())
}

/// Decodes a line that holds something; spaces at its end may be lost.
fn decode(line: &str) -> Option<Vec<u8>> {
    let bytes = line.trim_end_matches(['\r', '\n']).as_bytes();
    let (first, rest) = bytes.split_first()?;
    let length = usize::from(sextet(*first)?);
    let needed = length.div_ceil(3) * 4;
    // Writers add a check character, and relays cut spaces off.
    if length == 0 || rest.is_empty() || rest.len() > needed + 1 {
        return None;
    }
    let mut content = Vec::with_capacity(length + 2);
    for group in rest[..rest.len().min(needed)].chunks(4) {
        let mut bits = 0;
        for at in 0..4 {
            bits = bits << 6 | u32::from(sextet(group.get(at).copied().unwrap_or(b' '))?);
        }
        content.extend_from_slice(&bits.to_be_bytes()[1..]);
    }
    content.resize(length, 0);
    Some(content)
}

fn sextet(byte: u8) -> Option<u8> {
    matches!(byte, b' '..=b'`').then(|| (byte - b' ') & 63)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_taken_out_of_the_text() {
        let check = |text: &str, rest: &str, expected: &[(&str, &str)]| {
            let (found_rest, files) = split(text);
            let files: Vec<_> = files.iter().map(|file| (file.name, String::from_utf8_lossy(&file.content))).collect();
            assert_eq!(found_rest, rest, "{text:?}");
            assert_eq!(files, expected.iter().map(|(name, content)| (*name, (*content).into())).collect::<Vec<_>>());
        };
        check("a\nbegin 644 cat.txt\n#0V%T\n`\nend\nb", "a\nb", &[("cat.txt", "Cat")]);
        check("begin 644 cat.txt\r\n#0V%T\r\n \r\nend\r\n", "", &[("cat.txt", "Cat")]);
        check("begin 644 cat.txt\n#0V%T", "", &[("cat.txt", "Cat")]);
        check("begin 644 things\nand more of them\n", "begin 644 things\nand more of them\n", &[]);
        assert_eq!(split("begin 644 a\nM HTTP://A.EXAMPLE/\nend\n").0, "M HTTP://A.EXAMPLE/\n");
        check("begin with\nx", "begin with\nx", &[]);
        check("", "", &[]);
    }
}
