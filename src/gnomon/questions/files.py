"""Questions on disk: CSV, JSON lines and parquet files as rows with the place where each row stands.

Knows file formats; what a row must hold is checked elsewhere.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gnomon.errors import UsageError
from gnomon.questions.schema import Questions, fields

Row = tuple[str, dict[str, Any]]  # "FILE, line 3" and the cells by column

COLUMNS = ("prompt", "label", "cluster", "kind", "set", "classes")


def read(path: Path) -> list[Row]:
    """The rows of a file, by its extension; a CSV or parquet cell that holds a JSON object becomes a table.

    Raises `UsageError` where the file is missing, damaged, empty or of another kind.
    """
    if path.suffix not in _READERS:
        raise UsageError(f"{path} is no file of questions; give one that ends in .csv, .jsonl or .parquet")
    try:
        rows = list(_READERS[path.suffix](path))
    except OSError as error:
        raise UsageError(f"cannot read {path} ({error.strerror or error}); check the path") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8 text; save it as UTF-8") from error
    if not rows:
        raise UsageError(f"{path} holds no questions; write one question per row")
    return rows


def save(questions: Questions, path: str | Path) -> Path:
    """Write questions as CSV, JSON lines or parquet, by the extension; `load` reads them back as they are.

    Raises `UsageError` for another extension, and for text that a CSV or parquet cell would give another meaning.
    """
    from gnomon.runs.storage import write

    path = Path(path)
    if path.suffix not in _WRITERS:
        raise UsageError(f"{path} must end in .csv, .jsonl or .parquet to be written")
    write(path, _WRITERS[path.suffix](questions))
    return path


def _read_json_lines(path: Path) -> Iterator[Row]:
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").split("\n"), 1):
        where = f"{path}, line {number}"
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UsageError(f"{where} is not JSON ({error}); write one object per line") from error
        if not isinstance(row, dict):
            raise UsageError(f"{where} is no JSON object; write one object per line")
        yield where, row


def _read_csv(path: Path) -> Iterator[Row]:
    reader = csv.reader(io.StringIO(path.read_bytes().decode("utf-8-sig"), newline=""), strict=True)
    header: list[str] | None = None
    begin = 1
    try:
        for cells in reader:
            where, begin = f"{path}, line {begin}", reader.line_num + 1
            if not cells:
                continue
            if header is None:
                header = cells
                if twice := [name for name in header if header.count(name) > 1]:
                    raise UsageError(f"{path} has two columns {twice[0]!r}; rename one")
            elif len(cells) != len(header):
                raise UsageError(
                    f"{where} has {len(cells)} cells for {len(header)} columns; put text with commas into quotes"
                )
            else:
                yield where, {name: _cell(name, text) for name, text in zip(header, cells, strict=True)}
    except csv.Error as error:
        raise UsageError(f"{path}, line {begin} is not CSV ({error}); check the quotes") from error


def _read_parquet(path: Path) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    content = path.read_bytes()
    try:
        rows = pq.ParquetFile(io.BytesIO(content)).read().to_pylist()
    except (pa.ArrowException, ValueError, OverflowError, OSError) as error:
        # arrow says of damaged content, too, that it is an OSError
        raise UsageError(
            f"{path} is not a readable parquet file ({_first_line(error)}); write it again"
        ) from error
    for number, row in enumerate(rows, 1):
        yield (
            f"{path}, row {number}",
            {name: _cell(name, value) if isinstance(value, str) else value for name, value in row.items()},
        )


def _cell(name: str, text: str) -> Any:
    """The text of a cell, or the table that it spells: a chat (an object with a user turn), or answer classes."""
    if not text.lstrip().startswith("{"):
        return text
    try:
        table = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return table if name == "classes" or "user" in table else text


def _cells(questions: Questions) -> Iterator[dict[str, Any]]:
    """The rows of a table whose cells are texts and labels."""
    for number, question in enumerate(questions, 1):
        row = fields(question)
        if isinstance(row["prompt"], dict):
            row["prompt"] = json.dumps(row["prompt"], ensure_ascii=False)
        elif _cell("prompt", row["prompt"]) != row["prompt"]:
            raise UsageError(
                f"the prompt of question {number} would be read as a chat; save it as .jsonl instead"
            )
        yield {**row, "classes": json.dumps(row["classes"], ensure_ascii=False)}


def _json_lines(questions: Questions) -> bytes:
    return "".join(json.dumps(fields(question), ensure_ascii=False) + "\n" for question in questions).encode()


def _csv(questions: Questions) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, COLUMNS)
    writer.writeheader()
    writer.writerows(_cells(questions))
    return text.getvalue().encode()


def _parquet(questions: Questions) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([(name, pa.int8() if name == "label" else pa.string()) for name in COLUMNS])
    content = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(list(_cells(questions)), schema=schema), content)
    return content.getvalue()


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


_READERS = {".jsonl": _read_json_lines, ".csv": _read_csv, ".parquet": _read_parquet}
_WRITERS = {".jsonl": _json_lines, ".csv": _csv, ".parquet": _parquet}
