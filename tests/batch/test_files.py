"""Batch files: what is read, and how what is wrong is named."""

import contextlib
import io
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.batch import COLUMNS, READERS, Row, read_batch, read_stream
from farm.domain import MAX_INIT_IMAGE_BYTES, ImageSpec
from farm.errors import BatchFileError


def rows(content: str | bytes, ending: str) -> list[Row]:
    raw = content.encode() if isinstance(content, str) else content
    return list(read_stream(io.BytesIO(raw), READERS[ending], "batch"))


def test_a_text_file_holds_a_prompt_a_line_and_empty_lines_are_skipped() -> None:
    assert rows("a red circle\n\n  a blue star  \r\n", "txt") == [
        Row(1, ImageSpec(prompt="a red circle")),
        Row(3, ImageSpec(prompt="a blue star")),
    ]


def test_a_csv_file_has_columns_by_the_names_of_the_api_in_any_order() -> None:
    content = 'steps,prompt,guidance_scale,seed\n20,"a red circle, on white",2.5,7\n,a blue star,,\n'
    assert rows(content, "csv") == [
        Row(2, ImageSpec(prompt="a red circle, on white", steps=20, guidance_scale=2.5, seed=7)),
        Row(3, ImageSpec(prompt="a blue star")),
    ]


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_a_csv_file_may_be_separated_as_spreadsheets_do_it(delimiter: str) -> None:
    content = delimiter.join(("prompt", "steps")) + "\n" + delimiter.join(("a star, red", "5")) + "\n"
    assert rows(content, "csv") == [Row(2, ImageSpec(prompt="a star, red", steps=5))]


def test_a_quoted_cell_may_hold_line_ends_and_later_rows_keep_their_line_numbers() -> None:
    content = 'prompt,steps\n"a red\ncircle",3\na star,4\n'
    assert [(row.line, row.spec.steps) for row in rows(content, "csv")] == [(2, 3), (4, 4)]


def test_a_jsonl_file_holds_an_object_a_line_and_null_leaves_a_field_open() -> None:
    content = '{"prompt": "a star", "guidance_scale": 3, "seed": null}\n\n{"prompt": "☆", "negative_prompt": ""}\n'
    assert rows(content, "jsonl") == [
        Row(1, ImageSpec(prompt="a star", guidance_scale=3)),
        Row(3, ImageSpec(prompt="☆", negative_prompt="")),
    ]


def test_a_byte_order_mark_is_no_part_of_the_first_prompt() -> None:
    assert rows(b"\xef\xbb\xbfa star\n", "txt") == [Row(1, ImageSpec(prompt="a star"))]


@pytest.mark.parametrize(
    ("ending", "content", "place"),
    [
        ("txt", b"a star\ncaf\xe9\n", "line 2, column 4"),
        ("txt", b"a star\nwith \0 zero\n", "line 2, column 6"),
        ("txt", "a star".encode("utf-16"), "line 1, column 1"),
        ("txt", "a star".encode("utf-16-le"), "line 1, column 2"),
        ("txt", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "line 1, column 1"),
        ("txt", b"x" * 2_000_000, "line 1, column 1"),
        ("txt", b"a star\n\na ring\ra star\r", "line 3, column 7"),
        ("csv", "prompt,steps\na,3\ncaf\xe9,4\n".encode("latin-1"), "line 3, column 4"),
        ("csv", 'prompt,steps\n"a\nb",1\nc,x\n', "line 4, column steps"),
        ("csv", "prompt,guidance_scale\na,nan\n", "line 2, column guidance_scale"),
        ("csv", "prompt,guidance_scale\na,1e999\n", "line 2, column guidance_scale"),
        ("csv", b"\x1f\x8b\x08\0garbage", "line 1, column 2"),
        ("csv", "prompt,colour\na,b\n", "line 1, column 2"),
        ("csv", "prompt,prompt\na,b\n", "line 1, column 2"),
        ("csv", "prompt,steps\na,1\nb,many\n", "line 3, column steps"),
        ("csv", "prompt,steps\na,1,2\n", "line 2, column 3"),
        ("csv", 'prompt\n"a\n', "line 2, column 1"),
        ("jsonl", '{"prompt": "a"}\n{"prompt" "b"}\n', "line 2, column 11"),
        ("jsonl", '["a"]\n', "line 1, column 1"),
        ("jsonl", '{"prompt": 7}\n', "line 1, column prompt"),
        ("jsonl", '{"prompt": "a", "steps": true}\n', "line 1, column steps"),
        ("jsonl", '{"prompt": "a", "steps": 2.5}\n', "line 1, column steps"),
        ("jsonl", '{"prompt": "a", "step": 20}\n', "line 1, column step"),
        ("jsonl", '{"prompt": "a", "guidance_scale": NaN}\n', "line 1, column guidance_scale"),
        ("jsonl", '{"prompt": "a", "steps": -Infinity}\n', "line 1, column steps"),
        ("jsonl", '{"prompt": "a", "steps": 1, "steps": 2}\n', "line 1, column steps"),
        ("jsonl", '{"prompt": "half of a pair: \\ud800"}\n', "line 1, column prompt"),
        ("jsonl", b'{"prompt": "caf\xe9"}\n', "line 1, column 16"),
        ("jsonl", "[" * 100_000, "line 1, column 1"),
        ("jsonl", '{"prompt": "a", "seed": ' + "9" * 5000 + "}", "line 1, column 1"),
    ],
)
def test_what_is_wrong_is_named_by_line_and_column(ending: str, content: str | bytes, place: str) -> None:
    with pytest.raises(BatchFileError, match=rf"batch, {place}: .*Nothing of the file was submitted"):
        rows(content, ending)


@pytest.mark.parametrize(
    ("ending", "content", "places", "kept"),
    [
        ("txt", b"a\nb\xff\nc\nd\0\n", [("2", "2"), ("4", "2")], [(1, "a"), (3, "c")]),
        (
            "csv",
            b"prompt,steps,seed\na,x,y\nb,1,2\nc,1,2,3\n\xff,1,2\nd,1,2\n",
            [("2", "steps"), ("2", "seed"), ("4", "4"), ("5", "1")],
            [(3, "b"), (6, "d")],
        ),
        ("csv", b'prompt\na"b\n"c"d\ne\n', [("3", "1")], [(2, 'a"b'), (4, "e")]),
        (
            "jsonl",
            b'{"prompt": 1, "x": 2}\n{"prompt": "b"}\n7\n{\n{"prompt": "c"}',
            [("1", "prompt"), ("1", "x"), ("3", "1"), ("4", "2")],
            [(2, "b"), (5, "c")],
        ),
    ],
)
def test_all_that_is_wrong_is_told_at_once_to_who_wants_to_know_and_the_rest_is_read(
    ending: str, content: bytes, places: list[tuple[str, str]], kept: list[tuple[int, str]]
) -> None:
    complaints: list[BatchFileError] = []
    read = list(read_stream(io.BytesIO(content), READERS[ending], "batch", complaints.append))
    assert [(one.metadata["line"], one.metadata["column"]) for one in complaints] == places
    assert [(row.line, row.spec.prompt) for row in read] == kept


@pytest.mark.parametrize("ending", READERS)
@pytest.mark.parametrize("content", ["", "\n\n", "\r\n  \n"])
def test_a_file_without_a_prompt_is_refused(ending: str, content: str) -> None:
    with pytest.raises(BatchFileError, match="holds no prompts"):
        rows(content, ending)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(BatchFileError, match=r"nowhere\.txt cannot be read: No such file"):
        list(read_batch(tmp_path / "nowhere.txt"))


def test_a_name_with_an_unknown_ending_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BatchFileError, match=r"\.txt, \.csv, \.jsonl"):
        list(read_batch(tmp_path / "batch.xlsx"))


def test_rows_are_read_as_they_are_asked_for(tmp_path: Path) -> None:
    file = tmp_path / "batch.jsonl"
    file.write_text('{"prompt": "a star"}\nthis is no JSON\n')
    reader = read_batch(file)
    assert next(reader).spec.prompt == "a star"
    with pytest.raises(BatchFileError, match="line 2"):
        next(reader)


_VALUES: dict[type, st.SearchStrategy[object]] = {
    str: st.text(min_size=1).filter(lambda text: "\0" not in text),
    int: st.integers(),
    float: st.floats(allow_nan=False, allow_infinity=False),
}


@given(
    st.lists(
        st.fixed_dictionaries(
            {}, optional={name: _VALUES[kind] for name, kind in COLUMNS.items() if name != "init_image"}
        ),
        min_size=1,
    )
)
def test_every_entry_comes_back_from_a_jsonl_file_as_it_was_written(entries: list[dict[str, object]]) -> None:
    content = "".join(json.dumps(entry) + "\n" for entry in entries)
    assert [row.spec for row in rows(content, "jsonl")] == [ImageSpec(**entry) for entry in entries]  # type: ignore[arg-type]


@given(st.sampled_from(sorted(READERS)), st.binary(max_size=200))
def test_bytes_of_any_kind_give_rows_or_a_clear_refusal(ending: str, content: bytes) -> None:
    with contextlib.suppress(BatchFileError):
        assert all(row.line >= 1 for row in rows(content, ending))


def test_a_picture_to_start_from_is_read_from_the_batch_file_s_folder_on(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.jpg").write_bytes(b"\xff\xd8\xff picture")
    csv_file, json_file = tmp_path / "batch.csv", tmp_path / "batch.jsonl"
    csv_file.write_text("prompt,init_image,strength\na star,pictures/a.jpg,0.5\na ring,,\n")
    json_file.write_text('{"prompt": "a star", "init_image": "pictures/a.jpg", "strength": 0.5}\n')
    wanted = ImageSpec(prompt="a star", init_image=b"\xff\xd8\xff picture", strength=0.5)

    assert [row.spec for row in read_batch(csv_file)] == [wanted, ImageSpec(prompt="a ring")]
    assert [row.spec for row in read_batch(json_file)] == [wanted]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "cannot be read"),
        (b"GIF89a", "is not a PNG or JPEG file"),
        (b"\x89PNG\r\n\x1a\n" + bytes(MAX_INIT_IMAGE_BYTES), "make it smaller"),
    ],
)
def test_a_picture_that_cannot_be_used_is_named_by_its_line(
    tmp_path: Path, content: bytes | None, complaint: str
) -> None:
    if content is not None:
        (tmp_path / "a.png").write_bytes(content)
    batch = tmp_path / "batch.csv"
    batch.write_text("prompt,init_image\na star,a.png\n")

    with pytest.raises(BatchFileError, match=rf"line 2, column init_image: .*{complaint}"):
        list(read_batch(batch))
