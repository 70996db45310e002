"""Laws of the claims: verdicts follow from figures and bounds, and the page from the results."""

import json
from dataclasses import replace

import pytest

from nhin.bench.results import describe_machine
from nhin.bench.timing import Median
from nhin.cli.app import main
from nhin.errors import DataError, UnknownName, UsageError
from nhin.studies.claims.catalogue import CLAIMS, find_claims
from nhin.studies.claims.claim import Bound, ClaimFigure, ClaimResult, SourceClaim, judge, make_figure
from nhin.studies.claims.page import format_claims_page, format_figure
from nhin.studies.claims.run import RESULTS, ClaimsResults, load_claims, measure_claim, run_claims
from nhin.studies.claims.studies import measure_ladder
from nhin.studies.files import write_json

INSTANT = ("row-sums", "gqa-cache", "rope-distance")


def make_claim(*bounds, measure=lambda: (1.0,)):
    return SourceClaim("a-claim", "Group", "It is so.", "A paper", bounds, measure, "")


def make_result(*figures):
    return ClaimResult("a-claim", tuple(ClaimFigure("x", *values) for values in figures))


AT_LEAST_2 = Bound("x", low=2.0)


@pytest.mark.parametrize(
    ("figures", "verdict"),
    [
        ([(3.0,), (2.0,)], "holds"),
        ([(3.0,), (1.0,)], "holds in part"),
        ([(1.0,), (1.9,)], "does not hold here"),
        ([(3.0, 2.5, 3.5), (3.0, 2.1, 4.0)], "holds"),
        ([(3.0, 1.5, 4.5), (3.0, 2.1, 4.0)], "holds in part"),
        ([(3.0, 1.5, 4.5), (1.0, 0.5, 1.5)], "not decided"),
        ([(1.0, 0.5, 1.5), (1.0, 0.5, 1.9)], "does not hold here"),
    ],
)
def test_a_verdict_follows_from_all_figures_and_their_intervals(figures, verdict):
    assert judge(make_claim(AT_LEAST_2, AT_LEAST_2), make_result(*figures)) == verdict


def test_a_figure_without_a_bound_only_informs():
    claim = make_claim(AT_LEAST_2, Bound("x"))
    assert judge(claim, make_result((1.0,), (9.0,))) == "does not hold here"
    assert judge(claim, make_result((3.0,), (-9.0,))) == "holds"


def test_what_cannot_be_measured_says_why():
    result = measure_claim(make_claim(AT_LEAST_2, measure=lambda: "needs a GPU"))
    assert (result.reason, judge(make_claim(AT_LEAST_2), result)) == ("needs a GPU", "not measurable here")


def test_a_result_of_other_figures_is_refused():
    with pytest.raises(DataError, match="measure it again"):
        judge(make_claim(Bound("y")), make_result((1.0,)))


def test_values_of_several_seeds_become_a_mean_with_an_interval():
    figure = make_figure("x", [1.0, 2.0, 3.0])
    assert figure.low is not None
    assert figure.high is not None
    assert figure.low < 1 < figure.value == 2 < 3 < figure.high
    assert make_figure("x", Median(2.0, 1.0, 3.0)) == ClaimFigure("x", 2.0, 1.0, 3.0)
    assert make_figure("x", 2.0) == ClaimFigure("x", 2.0)


def test_at_least_25_claims_have_a_source_a_bound_and_a_name_for_the_command_line():
    assert len(CLAIMS) >= 25
    for name, claim in CLAIMS.items():
        assert name == claim.name
        assert claim.says.endswith(".")
        assert claim.source
        assert not all(bound.informs_only for bound in claim.bounds)
        assert all(bound.low <= bound.high for bound in claim.bounds)
        texts = (claim.says, claim.source, claim.how, *(bound.what for bound in claim.bounds))
        assert "|" not in "".join(texts), "it would break the table"


def test_an_unknown_claim_is_one_line_with_the_nearest_name(capsys):
    assert main(["claims", "rope-distanse"]) == UnknownName.exit_code
    error = capsys.readouterr().err
    assert "rope-distance" in error
    assert error.count("\n") == 1


def test_resume_without_a_folder_is_refused(capsys):
    assert main(["claims", "row-sums", "--resume"]) == UsageError.exit_code
    assert "--out" in capsys.readouterr().err


def test_the_command_prints_figures_and_verdicts_and_writes_page_and_figures(tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["claims", *INSTANT, "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    results = load_claims(out / RESULTS)
    assert [result.name for result in results.results] == [*INSTANT]
    for name in INSTANT:
        assert f"{name}: holds" in printed
    assert (out / "claims.md").read_text("utf-8") == format_claims_page(results, CLAIMS)
    assert main(["claims", "--out", str(out)]) == UsageError.exit_code


def test_what_is_measured_is_kept_and_not_measured_again(tmp_path):
    measured = []
    claims = [
        replace(CLAIMS[name], measure=lambda name=name: measured.append(name) or "no") for name in INSTANT
    ]
    stops = iter([False, True])
    run_claims(claims, tmp_path, stop=lambda: next(stops))
    assert measured == [INSTANT[0]]
    results = run_claims(claims, tmp_path, resume=True)
    assert measured == [*INSTANT]
    assert load_claims(tmp_path / RESULTS) == results


def test_figures_of_an_older_claim_are_measured_again(tmp_path):
    claim = make_claim(Bound("x"))
    run_claims([claim], tmp_path)
    newer = replace(claim, bounds=(Bound("y", low=0.0),))
    assert run_claims([newer], tmp_path, resume=True).results[0].figures[0].what == "y"


def test_results_of_another_machine_are_not_continued(tmp_path):
    run_claims([make_claim(Bound("x"))], tmp_path)
    tree = json.loads((tmp_path / RESULTS).read_text("utf-8"))
    tree["machine"]["processor"] = "another"
    write_json(tmp_path / RESULTS, tree)
    with pytest.raises(UsageError, match="another machine"):
        run_claims([make_claim(Bound("x"))], tmp_path, resume=True)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"format": "nhin claims"}', '{"format": "nhin claims", "x": NaN}']
)
def test_a_file_that_is_none_of_ours_is_refused(tmp_path, text):
    (tmp_path / RESULTS).write_text(text)
    with pytest.raises(DataError):
        load_claims(tmp_path / RESULTS)


def test_the_page_is_what_the_results_say_in_the_order_of_the_catalogue():
    claims = find_claims(INSTANT)
    results = [
        ClaimResult(
            claim.name, tuple(ClaimFigure(bound.what, 12345.0) for bound in claim.bounds), None, 1.0, day
        )
        for claim, day in zip(reversed(claims), ("2026-01-02", "2026-01-01", "2026-01-02"), strict=True)
    ]
    page = format_claims_page(ClaimsResults(describe_machine(), tuple(results)), CLAIMS)
    assert page.index("row-sums`") < page.index("gqa-cache`")
    assert "2026-01-01 to 2026-01-02" in page
    assert "grouped over multi-query: 12,345 (exactly 8)" in page
    assert "3 claims: does not hold here 2, holds in part 1." in page
    for line in page.splitlines():
        assert line.count("|") in (0, 4)


def test_a_page_of_unknown_claims_is_refused():
    results = ClaimsResults(describe_machine(), (ClaimResult("nothing", reason="no"),))
    with pytest.raises(UnknownName):
        format_claims_page(results, CLAIMS)


@pytest.mark.parametrize(
    ("bound", "text"),
    [
        (Bound("x", low=4000), "x: 5 (at least 4,000)"),
        (Bound("x", high=1e-10), "x: 5 (at most 1e-10)"),
        (Bound("x", 0.85, 1.15), "x: 5 (0.85 to 1.15)"),
        (Bound("x"), "x: 5"),
    ],
)
def test_a_figure_stands_beside_what_is_wanted(bound, text):
    assert format_figure(ClaimFigure("x", 5.0), bound) == text


def test_the_gain_of_depth_is_paired_by_seed(tmp_path):
    rows = [
        {"family": family, "nats": [nats + 1, nats + 2]}
        for family in ("lm-modern", "lm-blocks")
        for nats in (3.0, 2.0, 0.0)
    ]
    write_json(tmp_path / "ladder.json", {"rows": rows})
    gains = measure_ladder(tmp_path / "ladder.json")
    assert not isinstance(gains, str)
    assert [(gain.mean, gain.half_width) for gain in gains] == [(1, 0), (2, 0)] * 2
    assert isinstance(measure_ladder(tmp_path / "missing.json"), str)


def test_one_seed_has_no_interval():
    assert make_figure("x", [1.0]) == ClaimFigure("x", 1.0)
