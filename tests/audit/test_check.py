"""The audit finds nothing in a batch that is right, and names each damage that is done to it."""

import hashlib
import re
import shutil
import sqlite3
import subprocess
import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from farm.batch.files import read_batch
from farm.client import Client
from tests.audit.check import Damage, audit
from tests.running_farm import running_farm

BATCH = """prompt,negative_prompt,seed,steps,guidance_scale
a red circle,,,,
"a blue star, left of it a moon",,77,3,
a green square,a circle,,,4.5
eine Sonne über dem Meer – 太陽,,,,
a picture that always fails,,,,
"""
FAILS = 4


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch that has ended, and all that the audit reads."""

    journal: Path
    job_id: str
    submitted: Path
    output: Path
    store: Path

    def damages(self) -> set[Damage]:
        found = audit(self.journal, self.job_id, self.submitted, self.output, self.store)
        return {finding.damage for finding in found}

    def sql(self, script: str) -> None:
        with sqlite3.connect(self.journal) as sql:
            sql.execute(script)

    def stored(self, index: int) -> Path:
        return next(self.store.rglob(f"{index:08d}-*.png"))

    def replace(self, index: int, change: Callable[[bytes], bytes]) -> None:
        """Changes an image and everything that is kept of its bytes, as a farm that is wrong would."""
        pulled, manifest = self.output / f"{index:06d}.png", self.output / "manifest.jsonl"
        content = change(pulled.read_bytes())
        old, new = (hashlib.sha256(data).hexdigest() for data in (pulled.read_bytes(), content))
        for path in (pulled, self.stored(index)):
            path.write_bytes(content)
        values = f"'$.sha256', '{new}', '$.size_bytes', {len(content)}"
        self.sql(f"UPDATE results SET body = json_set(body, {values}) WHERE idx = {index}")
        manifest.write_text(manifest.read_text().replace(old, new))

    def retell(self, index: int, find: bytes, put: bytes) -> None:
        """Has an image say something else."""
        self.replace(index, lambda content: _with_text_changed(content, find, put))


def _with_text_changed(content: bytes, find: bytes, put: bytes) -> bytes:
    """A PNG in which a text chunk says something else, checksum and length included."""
    position = 8
    while True:
        length = int.from_bytes(content[position : position + 4])
        kind, body = content[position + 4 : position + 8], content[position + 8 : position + 8 + length]
        if kind in (b"tEXt", b"iTXt") and find in body:
            body = body.replace(find, put)
            chunk = len(body).to_bytes(4) + kind + body + zlib.crc32(kind + body).to_bytes(4)
            return content[:position] + chunk + content[position + 12 + length :]
        assert kind != b"IEND", f"no text holds {find!r}"
        position += 12 + length


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Batch:
    """Five images by a farm, one of which fails for good."""
    folder = tmp_path_factory.mktemp("sound")
    submitted = folder / "batch.csv"
    submitted.write_text(BATCH)
    with running_farm(folder / "state", failures={FAILS: 99}) as farm, Client(farm.address) as client:
        job = client.submit([row.spec for row in read_batch(submitted)], steps=2, seed=5)
        job.wait()
        job.download(folder / "out")
    job_id = job.name.removeprefix("jobs/")
    store = folder / "state" / "images" / job_id
    return Batch(folder / "state" / "journal.sqlite3", job_id, submitted, folder / "out", store)


@pytest.fixture
def batch(sound: Batch, tmp_path: Path) -> Batch:
    """A copy to be damaged."""
    root = sound.submitted.parent
    shutil.copytree(root, tmp_path, dirs_exist_ok=True)
    moved = (tmp_path / path.relative_to(root) for path in (sound.journal, sound.submitted, sound.output, sound.store))
    journal, submitted, output, store = moved
    return Batch(journal, sound.job_id, submitted, output, store)


def test_nothing_is_found_in_a_batch_that_is_right(batch: Batch) -> None:
    assert audit(batch.journal, batch.job_id, batch.submitted, batch.output, batch.store) == []


def _rewrite(path: Path, change: Callable[[bytes], bytes]) -> None:
    path.write_bytes(change(path.read_bytes()))


def _twice(batch: Batch) -> None:
    shutil.copy(batch.stored(0), batch.stored(0).with_name("00000000-9.png"))


DAMAGES: dict[str, tuple[Callable[[Batch], object], set[Damage]]] = {
    "the journal is no database": (lambda b: b.journal.write_bytes(b"x" * 9000), {Damage.JOURNAL}),
    "the job is gone": (lambda b: b.sql("DELETE FROM jobs"), {Damage.JOURNAL}),
    "the job goes on": (lambda b: b.sql("UPDATE jobs SET state = NULL"), {Damage.JOURNAL}),
    "the journal holds another prompt": (
        lambda b: b.sql("UPDATE entries SET spec = json_set(spec, '$.prompt', 'a moon') WHERE idx = 0"),
        {Damage.ENTRY},
    ),
    "an entry was not submitted": (
        lambda b: _rewrite(b.submitted, lambda c: c.replace(b"a red circle,,,,\n", b"")),
        {Damage.ENTRY, Damage.COUNT, Damage.ORPHAN, Damage.SPEC, Damage.PARAMETERS, Damage.MANIFEST},
    ),
    "an image was forgotten": (
        lambda b: b.sql("DELETE FROM results WHERE idx = 0"),
        {Damage.LOST, Damage.COUNT, Damage.ORPHAN, Damage.MANIFEST},
    ),
    "an image failed without a word": (
        lambda b: b.sql(f"UPDATE results SET body = json_set(body, '$.reason', '') WHERE idx = {FAILS}"),
        {Damage.LOST},
    ),
    "an image counts twice": (
        lambda b: b.sql("UPDATE jobs SET succeeded_count = succeeded_count + 1"),
        {Damage.COUNT},
    ),
    "an image has two files": (_twice, {Damage.TWICE}),
    "an attempt number was made up": (
        lambda b: b.sql("UPDATE jobs SET next_attempt_number = 1"),
        {Damage.FENCE},
    ),
    "a pulled file is gone": (lambda b: (b.output / "000002.png").unlink(), {Damage.MISSING}),
    "a stored file is gone": (lambda b: b.stored(2).unlink(), {Damage.MISSING}),
    "a stored file changed": (lambda b: _rewrite(b.stored(2), lambda c: c + b"\0"), {Damage.BYTES}),
    "a pulled file lost a bit": (
        lambda b: _rewrite(b.output / "000002.png", lambda c: c[:60] + bytes([c[60] ^ 1]) + c[61:]),
        {Damage.BYTES, Damage.PNG},
    ),
    "half a file was committed": (lambda b: b.replace(1, lambda c: c[:100]), {Damage.PNG}),
    "a file shows another prompt": (
        lambda b: b.retell(0, b'"prompt": "a red circle"', b'"prompt": "a red square"'),
        {Damage.SPEC},
    ),
    "a file has another seed": (lambda b: b.retell(1, b'"seed": 77', b'"seed": 78'), {Damage.SPEC}),
    "a file names another compute unit": (lambda b: b.retell(0, b"CPU_ONLY", b"CPU_AND_NE"), {Damage.PROVENANCE}),
    "a file names another model digest": (
        lambda b: b.retell(0, b'"model_digest": "sha256:', b'"model_digest": "sha256:0'),
        {Damage.PROVENANCE},
    ),
    "the journal names another runtime": (
        lambda b: b.sql("UPDATE results SET body = json_set(body, '$.provenance.runtime', 'coreml') WHERE idx = 0"),
        {Damage.PROVENANCE},
    ),
    "the text for other tools has another seed": (lambda b: b.retell(1, b"Seed: 77", b"Seed: 78"), {Damage.PARAMETERS}),
    "the text for other tools has another prompt": (
        lambda b: b.retell(2, b"Negative prompt: a circle", b"Negative prompt: a moon"),
        {Damage.PARAMETERS},
    ),
    "a stray file is pulled": (lambda b: (b.output / "000099.png").write_bytes(b"x"), {Damage.ORPHAN}),
    "half a file is left in the store": (lambda b: (b.store / "00000" / "x.part").write_bytes(b"x"), {Damage.ORPHAN}),
    "a failed image has a file": (
        lambda b: shutil.copy(b.output / "000000.png", b.output / f"{FAILS:06d}.png"),
        {Damage.ORPHAN},
    ),
    "the manifest is gone": (lambda b: (b.output / "manifest.jsonl").unlink(), {Damage.MANIFEST}),
    "the manifest skips an image": (
        lambda b: _rewrite(b.output / "manifest.jsonl", lambda c: c.partition(b"\n")[2]),
        {Damage.MANIFEST},
    ),
    "the manifest names another hash": (
        lambda b: _rewrite(b.output / "manifest.jsonl", lambda c: re.sub(rb'"sha256": "..', b'"sha256": "zz', c)),
        {Damage.MANIFEST},
    ),
}


@pytest.mark.parametrize("what", DAMAGES)
def test_each_damage_is_found_by_its_name(batch: Batch, what: str) -> None:
    do, expected = DAMAGES[what]
    do(batch)
    assert batch.damages() == expected


def test_every_name_of_a_damage_is_given_to_one() -> None:
    assert set().union(*(names for _, names in DAMAGES.values())) == set(Damage)


def test_the_command_line_says_what_is_wrong_and_exits_with_1(batch: Batch) -> None:
    arguments = (batch.journal, f"jobs/{batch.job_id}", batch.submitted, batch.output)
    command = [sys.executable, "-m", "tests.audit", *map(str, arguments)]
    right = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (right.returncode, right.stdout) == (0, "nothing is wrong\n")
    (batch.output / "000002.png").unlink()
    wrong = subprocess.run(command, capture_output=True, text=True, check=False)
    assert wrong.returncode == 1
    assert "MISSING image 2: 000002.png" in wrong.stdout


def test_the_audit_shares_no_code_with_the_farm() -> None:
    for path in Path(__file__).parent.glob("*.py"):
        if path.name != Path(__file__).name:
            assert not re.search(r"^\s*(from|import) farm\b", path.read_text(), re.MULTILINE), path.name
