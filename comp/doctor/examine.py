"""All checks of this machine, in the order of their report."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from comp.doctor.packages import check_imports, check_packages
from comp.doctor.report import Report
from comp.errors import UserError


def examine(config_file: str, overrides: Sequence[str], device_name: str) -> Report:
    """Return the report of this machine, for the trainings of a config on a device."""
    report = Report()
    check_packages(report)
    if not check_imports(report):
        return report
    from comp import config
    from comp.doctor import accelerator, machine, project

    settings = config.load(config_file, list(overrides))[0]
    for check in (machine.check_processor, machine.check_memory, machine.check_disk, accelerator.check_gpus):
        _guard(report, check, report)
    device = accelerator.choose(report, device_name)
    if device is not None:
        _guard(report, accelerator.check_choices, report, settings, device)
        _guard(report, machine.check_shared_memory, report, settings, device)
    for project_check in (project.check_data, project.check_logins):
        _guard(report, project_check, report, settings)
    return report


def _guard(report: Report, check: Callable[..., None], *arguments: object) -> None:
    """Call a check. An exception is a problem of the machine too, and the other checks are made all the same."""
    try:
        check(*arguments)
    except UserError as error:
        report.error(str(error))
    except Exception as error:
        report.error(f"{check.__name__}: {type(error).__name__}: {str(error)[:200]}; report it with this output")
