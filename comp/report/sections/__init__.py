"""The sections of a report: a module each, with `build(source) -> Section | None`. comp/report/page.py orders them."""
