"""The farm's certificate authority, judged by a verifier that is not its own."""

import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.verification import ClientVerifier, PolicyBuilder, ServerVerifier, Store, VerificationError

from farm.access.authority import LIFETIME, Authority
from farm.access.certificates import fingerprint, is_due, signing_request
from farm.errors import AccessFilesError, InvalidRequestError


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority.open(tmp_path / "access")


def store(authority: Authority) -> Store:
    return Store([x509.load_pem_x509_certificate(authority.certificate_pem)])


def server_verifier(authority: Authority, host: str) -> ServerVerifier:
    return PolicyBuilder().store(store(authority)).build_server_verifier(x509.DNSName(host))


def client_verifier(authority: Authority) -> ClientVerifier:
    return PolicyBuilder().store(store(authority)).build_client_verifier()


def leaf(pem: bytes) -> x509.Certificate:
    return x509.load_pem_x509_certificates(pem)[0]


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_folder_has_one_authority_for_good(tmp_path: Path) -> None:
    first, again = (Authority.open(tmp_path / "access") for _ in range(2))
    assert again.certificate_pem == first.certificate_pem
    assert Authority.open(tmp_path / "other").fingerprint != first.fingerprint


def test_its_files_are_for_their_owner_alone_and_also_after_somebody_opened_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "access"
    Authority.open(folder)
    folder.chmod(0o755)
    Authority.open(folder)
    assert mode(folder) == 0o700
    assert {mode(path) for path in folder.iterdir()} == {0o600}


def test_the_fingerprint_is_the_hash_of_the_certificate_that_openssl_shows(authority: Authority) -> None:
    certificate = leaf(authority.certificate_pem)
    assert authority.fingerprint == f"sha256:{certificate.fingerprint(hashes.SHA256()).hex()}"


def test_a_server_is_believed_under_its_names_and_addresses_only(authority: Authority) -> None:
    chain = authority.issue("coordinator", ["studio.local", "127.0.0.1", "fe80::1%en0", "::1"]).certificate_pem
    server_verifier(authority, "studio.local").verify(leaf(chain), [])
    with pytest.raises(VerificationError):
        server_verifier(authority, "elsewhere.local").verify(leaf(chain), [])
    names = leaf(chain).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert {str(address) for address in names.get_values_for_type(x509.IPAddress)} == {"127.0.0.1", "fe80::1", "::1"}


def test_a_chain_ends_with_the_authority_so_that_it_can_be_pinned(authority: Authority) -> None:
    _, root = x509.load_pem_x509_certificates(authority.issue("coordinator", ["localhost"]).certificate_pem)
    assert fingerprint(root.public_bytes(serialization.Encoding.PEM)) == authority.fingerprint


def test_a_worker_is_certified_as_server_and_client_by_its_request(authority: Authority) -> None:
    key, request = signing_request("studio-3")
    certificate = leaf(authority.sign(request, "studio-3", ["studio-3.local"]))
    server_verifier(authority, "studio-3.local").verify(certificate, [])
    client_verifier(authority).verify(certificate, [])
    assert serialization.load_pem_private_key(key, None).public_key() == certificate.public_key()


def test_nothing_is_taken_from_a_request_but_its_key(authority: Authority) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    greedy = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([]))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("coordinator.local")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    chain = authority.sign(greedy.public_bytes(serialization.Encoding.PEM), "studio-3", ["studio-3.local"])
    assert not leaf(chain).extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    with pytest.raises(VerificationError):
        server_verifier(authority, "coordinator.local").verify(leaf(chain), [])


def test_a_request_that_is_none_or_is_for_another_sort_of_key_is_refused(authority: Authority) -> None:
    rsa_request = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([]))
        .sign(rsa.generate_private_key(65537, 2048), hashes.SHA256())
    )
    for request in (b"", b"nonsense", rsa_request.public_bytes(serialization.Encoding.PEM)):
        with pytest.raises(InvalidRequestError) as refused:
            authority.sign(request, "studio-3", [])
        assert "csr" in refused.value.violations


def test_another_farms_certificate_is_not_believed(authority: Authority, tmp_path: Path) -> None:
    foreign = Authority.open(tmp_path / "other").issue("coordinator", ["studio.local"])
    with pytest.raises(VerificationError):
        server_verifier(authority, "studio.local").verify(leaf(foreign.certificate_pem), [])


def test_a_certificate_is_due_for_renewal_well_before_it_ends(authority: Authority) -> None:
    certificate = authority.issue("coordinator", ["localhost"]).certificate_pem
    now = datetime.now(UTC)
    assert not is_due(certificate)
    assert is_due(certificate, now + LIFETIME - timedelta(days=60))
    assert is_due(authority.issue("coordinator", ["localhost"], timedelta(minutes=1)).certificate_pem)


@pytest.mark.parametrize(
    "content", [b"", b"nonsense", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"]
)
def test_a_damaged_authority_is_told_and_never_replaced_in_silence(tmp_path: Path, content: bytes) -> None:
    folder = tmp_path / "access"
    Authority.open(folder)
    (folder / "authority.pem").write_bytes(content)
    with pytest.raises(AccessFilesError, match="Restore it from a backup"):
        Authority.open(folder)
    assert (folder / "authority.pem").read_bytes() == content
