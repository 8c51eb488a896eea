"""JupyterLab as a student finds it. (That every lecture runs is tested without a browser; here, that a page does.)"""

import json
from pathlib import Path

import course

ROOT = Path(course.__file__).parent
FIRST_PAGE = ROOT / course.FIRST_PAGE


def test_opens_without_a_question_and_without_the_graders_tools(lab):
    page = lab.page()
    page.get_by_role("menuitem", name="File", exact=True).wait_for()
    page.wait_for_timeout(3000)  # a notification would come late
    assert page.locator(".jp-toastContainer .Toastify__toast, .jp-Dialog").count() == 0
    assert page.get_by_role("menuitem", name="Nbgrader").count() == 0
    assert page.locator("[data-id*=nbgrader], [title*=nbgrader i], [id*=nbgrader]").count() == 0
    page.close()


def test_the_first_page_runs_to_its_end(lab):
    page = lab.run(FIRST_PAGE)
    page.get_by_text("Everything is ready.").first.wait_for()
    page.close()


def test_a_saved_page_has_the_words_of_its_pictures_and_folded_code(lab):
    notebook = json.loads((ROOT / "notebooks" / "05_uniform_quantization.ipynb").read_text(encoding="utf-8"))
    cells = notebook["cells"]
    folded = next(cell for cell in cells if "hide-input" in cell["metadata"].get("tags", []))
    shown = next(cell for cell in cells if any("image/png" in one.get("data", {}) for one in cell.get("outputs", [])))
    notebook["cells"] = [shown, folded]
    (lab.folder / "saved.ipynb").write_text(json.dumps(notebook), encoding="utf-8")
    page = lab.page("lab/tree/saved.ipynb?reset")
    picture = page.locator(".jp-RenderedImage img").first
    picture.wait_for()
    (words,) = (one["metadata"]["image/png"]["alt"] for one in shown["outputs"] if "image/png" in one.get("data", {}))
    assert picture.get_attribute("alt") == words
    assert page.locator(".jp-CodeCell").nth(0).locator(".jp-InputArea-editor").is_visible()
    assert page.locator(".jp-CodeCell").nth(1).locator(".jp-InputPlaceholder").is_visible()
    assert not page.locator(".jp-CodeCell").nth(1).locator(".jp-InputArea-editor").is_visible()
    page.close()
