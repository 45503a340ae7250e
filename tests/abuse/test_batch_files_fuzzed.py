"""Batch files with damage: they give rows, or the one error that says where they are wrong."""

import contextlib
import io

import pytest

from farm.batch import COLUMNS, READERS, read_stream
from farm.errors import BatchFileError
from tests.abuse.fuzzing import cases, fuzz
from tests.abuse.mutations import DAMAGE, Mutation, damaged

VALID = {
    "txt": "a red circle\n\n  ☆ on a blue background  \r\nthe third".encode(),
    "csv": (
        "prompt,negative_prompt,seed,width,height,steps,guidance_scale,sampler,strength\n"
        '"a red circle, on white",,7,64,64,20,2.5,euler,\n"two\nlines",☆,,,,,,,0.5\n'
    ).encode(),
    "jsonl": (
        b'{"prompt": "a red circle", "seed": 7, "guidance_scale": 2.5, "sampler": "euler"}\n\n'
        b'{"prompt": "\\u2606", "negative_prompt": null, "steps": 20, "strength": 1e-1}\n'
    ),
}


@pytest.mark.parametrize("ending", VALID)
@cases(quick=100, slow=14_000)
def test_a_damaged_batch_file_gives_rows_or_is_refused(ending: str, count: int) -> None:
    def holds(damage: list[Mutation]) -> None:
        content = io.BytesIO(damaged(VALID[ending], damage))
        with contextlib.suppress(BatchFileError):
            for row in read_stream(content, READERS[ending], "batch"):
                values = {name: getattr(row.spec, name) for name in COLUMNS}
                assert all(value is None or isinstance(value, COLUMNS[name] | int) for name, value in values.items())

    fuzz(count, holds, DAMAGE)
