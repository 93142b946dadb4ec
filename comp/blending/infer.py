"""From finished runs to a submission: members -> predictions -> fitted blend -> table -> file -> report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from comp.blending.blend_files import write_blend_files
from comp.blending.explanation import write_explanation
from comp.blending.fit import fit_and_assess, unfitted_blend
from comp.blending.manifest import build_manifest
from comp.blending.members import check_runs, open_members, predict_test
from comp.blending.options import InferOptions, check_options
from comp.blending.report import describe_blend, print_assessment, print_test_score, print_warnings
from comp.data.scan import scan
from comp.errors import UserError
from comp.runs import BLENDS, Run
from comp.submit.sample import check_sample, fill_table, load_sample
from comp.submit.write import write_submission
from comp.track.live import report_inference


def infer(runs: Sequence[Run], options: InferOptions) -> Path:
    """Blend runs and write a submission in the format of the sample. Return its path.

    The blend is fitted to out-of-fold predictions and scored cross-fitted, then applied to the test images. A blend of
    models that were trained on every image is neither fitted nor scored.
    """
    check_runs(runs)
    options = check_options(runs, options)
    dataset = scan(runs[0].config.source)
    if not dataset.test:
        raise UserError(f"{dataset.root / 'test'} has no images to predict; add them")
    sample = load_sample(dataset)
    rows = check_sample(sample, dataset)  # before predicting, which takes minutes

    members = open_members(runs, options)
    if options.full:
        assessment, blend = None, unfitted_blend(members, options)
        print("trained on every image: there is no CV score, and temperatures stay 1")
    else:
        assessment = fit_and_assess(members, options, len(dataset.test))
        blend = assessment.blend.without_zero_weights()
        print_assessment(assessment)

    predictions = predict_test(blend, members, dataset.test, rows)
    table = fill_table(sample, predictions, dataset)
    manifest = build_manifest(blend, members, options, dataset, assessment.oof_summary() if assessment else None)
    path = write_submission(options.name, table, manifest)
    print_test_score(dataset, predictions, members.first)
    if assessment:
        print_warnings(members, dataset)
        write_blend_files(BLENDS / options.name, assessment, members, manifest)
    print(
        f"wrote {path}: {len(table.rows)} rows, the {options.method} of {describe_blend(blend)} "
        f"(runtime: {options.runtime})",
        flush=True,
    )
    if assessment:  # last, since it can take longer than the blend
        write_explanation(BLENDS / options.name, assessment, members)
    report_inference(path, members.first.config.log.wandb)
    return path
