"""The crawl on paper: its bounds hold, and its page says what it prints."""

from pathlib import Path

import pytest

from tests.bench.crawl_month import DAY_S, Figures, gateway_days, live_days, run
from webtext.fidelity import published_domains

PAGE = (Path(__file__).parents[2] / "docs" / "crawl-month.md").read_text()


def test_the_page_holds_what_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    run()
    lines = [line for line in capsys.readouterr().out.splitlines() if "Figures(" not in line]
    assert len(lines) > 8
    for line in lines:
        assert line in PAGE, line


def test_no_number_of_workers_beats_the_bounds() -> None:
    figures = Figures()
    longest = max(published_domains().values()) * (1 + figures.answer_s) / DAY_S
    assert live_days(figures, 1, 10_000) == pytest.approx(longest)
    assert live_days(figures, 1, 1) > live_days(figures, 1, 8) > longest
    assert live_days(figures, 5, 10_000) == pytest.approx(2 * live_days(figures, 1, 10_000) * 7 / 6)
    alone = gateway_days(figures, 1)
    assert alone == pytest.approx(45e6 / 64 / DAY_S)
    assert alone / 8 <= gateway_days(figures, 8) < alone / 7
    limited = Figures(gateway_per_s=10)
    assert gateway_days(limited, 8) == pytest.approx(4.5e6 / DAY_S)
