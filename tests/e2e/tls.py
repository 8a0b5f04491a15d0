"""The object store behind TLS, with a certificate that nobody trusts who does not know its authority."""

from collections.abc import Sequence

import trustme
from tests.real import RealS3


class TlsS3(RealS3):
    """The same store at https://127.0.0.1; `ca` is the authority's certificate in PEM."""

    def __init__(self) -> None:
        super().__init__()
        self._authority = trustme.CA()
        self.ca: str = self._authority.cert_pem.bytes().decode()

    @property
    def url(self) -> str:
        """The endpoint, without the bucket."""
        return f"https://127.0.0.1:{self.port}"

    def command(self) -> Sequence[str]:
        """Write the server's certificate and key, and return the command that uses them."""
        issued = self._authority.issue_cert("127.0.0.1")
        certificate, key = self.folder / "tls.crt", self.folder / "tls.key"
        issued.cert_chain_pems[0].write_to_path(str(certificate))
        issued.private_key_pem.write_to_path(str(key))
        return [*super().command(), "-c", str(certificate), "-k", str(key)]
