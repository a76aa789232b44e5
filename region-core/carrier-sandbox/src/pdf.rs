//! One page of text in two fonts and of filled rectangles, as a PDF 1.4 (ISO 32000-1): what a label needs and no more.

/// A page that is drawn on, in points from its lower left corner.
#[derive(Debug)]
pub(crate) struct Page {
    width: f64,
    height: f64,
    content: Vec<u8>,
}

/// The fonts that every reader has (ISO 32000-1 section 9.6.2.2).
#[derive(Clone, Copy, Debug)]
pub(crate) enum Font {
    Plain,
    Bold,
}

impl Page {
    pub(crate) fn new(width: f64, height: f64) -> Self {
        Self { width, height, content: Vec::new() }
    }

    /// A line of text. What is not in Latin-1 is printed as a question mark.
    pub(crate) fn text(&mut self, font: Font, size: f64, x: f64, y: f64, text: &str) {
        let font = match font {
            Font::Plain => "F1",
            Font::Bold => "F2",
        };
        self.content.extend(format!("BT /{font} {size} Tf {x} {y} Td (").bytes());
        for byte in text.chars().map(latin) {
            if matches!(byte, b'(' | b')' | b'\\') {
                self.content.push(b'\\');
            }
            self.content.push(byte);
        }
        self.content.extend(b") Tj ET\n");
    }

    /// A filled rectangle.
    pub(crate) fn bar(&mut self, x: f64, y: f64, width: f64, height: f64) {
        self.content.extend(format!("{x:.3} {y:.3} {width:.3} {height:.3} re f\n").bytes());
    }

    /// The whole file.
    pub(crate) fn finish(self) -> Vec<u8> {
        let Self { width, height, content } = self;
        let font = |name: &str| {
            format!("<< /Type /Font /Subtype /Type1 /BaseFont /{name} /Encoding /WinAnsiEncoding >>").into_bytes()
        };
        let page = format!(
            "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 {width} {height}] /Contents 4 0 R \
             /Resources << /Font << /F1 5 0 R /F2 6 0 R >> >> >>"
        );
        let stream =
            [format!("<< /Length {} >>\nstream\n", content.len()).as_bytes(), &content, b"\nendstream"].concat();
        let objects = [
            b"<< /Type /Catalog /Pages 2 0 R >>".to_vec(),
            b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>".to_vec(),
            page.into_bytes(),
            stream,
            font("Helvetica"),
            font("Helvetica-Bold"),
        ];
        // Four bytes beyond ASCII tell programs that move files that this is not text.
        let mut file = b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n".to_vec();
        let mut entries = String::new();
        for (number, object) in (1..).zip(&objects) {
            entries.push_str(&format!("{:010} 00000 n \n", file.len()));
            file.extend(format!("{number} 0 obj\n").bytes());
            file.extend(object);
            file.extend(b"\nendobj\n");
        }
        let (size, start) = (objects.len() + 1, file.len());
        file.extend(format!("xref\n0 {size}\n0000000000 65535 f \n{entries}").bytes());
        file.extend(format!("trailer\n<< /Size {size} /Root 1 0 R >>\nstartxref\n{start}\n%%EOF\n").bytes());
        file
    }
}

/// Where WinAnsi and Latin-1 agree.
fn latin(character: char) -> u8 {
    let byte = u8::try_from(u32::from(character)).ok();
    byte.filter(|byte| matches!(byte, 0x20..=0x7e | 0xa0..=0xff)).unwrap_or(b'?')
}
