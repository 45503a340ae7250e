"""Writes a JSON file for each dashboard beside this one."""

from pathlib import Path

from dashboards.grafana import BOARDS, to_json

if __name__ == "__main__":
    for board in BOARDS:
        (Path(__file__).parent / f"{board.uid}.json").write_text(to_json(board))
