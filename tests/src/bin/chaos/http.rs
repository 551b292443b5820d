//! A plain HTTP/1.1 client on a standard socket, so that nothing of the product is trusted twice.

use std::io::{BufRead, BufReader, Error, ErrorKind, Read, Result, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// One keep-alive connection.
pub(crate) struct Http(BufReader<TcpStream>);

impl Http {
    /// Connects; no answer takes longer than `patience`.
    pub(crate) fn connect(address: SocketAddr, patience: Duration) -> Result<Self> {
        let stream = TcpStream::connect_timeout(&address, Duration::from_millis(500))?;
        stream.set_read_timeout(Some(patience))?;
        stream.set_nodelay(true)?;
        Ok(Self(BufReader::new(stream)))
    }

    /// Status and body; an error means that nobody knows what became of the request.
    pub(crate) fn call(
        &mut self,
        method: &str,
        target: &str,
        header: &str,
        form: &str,
    ) -> Result<(u16, String)> {
        let request = format!(
            "{method} {target} HTTP/1.1\r\nhost: localhost\r\n{header}\
             content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n{form}",
            form.len()
        );
        self.0.get_mut().write_all(request.as_bytes())?;
        let wrong = || Error::from(ErrorKind::InvalidData);
        let mut line = String::new();
        if self.0.read_line(&mut line)? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        let status = line.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or_else(wrong)?;
        let mut length = 0;
        loop {
            line.clear();
            self.0.read_line(&mut line)?;
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().ok().ok_or_else(wrong)?;
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body)?;
        Ok((status, String::from_utf8(body).ok().ok_or_else(wrong)?))
    }
}
