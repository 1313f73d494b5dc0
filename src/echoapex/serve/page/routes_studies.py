"""The list of studies, uploads, and everything about one study."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request
from pydantic import Field
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException

from echoapex.data.datasets.corrections import forget_corrected_clips
from echoapex.serve.page.page_parts import Admin, Parts, User
from echoapex.serve.page.schemas import NewLabel, PageState, StudyDetail, StudyRow, StudyRows, Uploaded, Wire
from echoapex.serve.page.security import PageError
from echoapex.serve.page.study_list import SortKey, StudyFilter
from echoapex.serve.page.uploads import IncomingFile
from echoapex.serve.page.work_queue import forget_results

router = APIRouter(tags=["studies"])
StudyId = Annotated[str, Path(pattern="^[0-9a-f]{16}$", description="key of the study")]
ClipId = Annotated[str, Path(pattern="^[A-Za-z0-9][A-Za-z0-9_-]{0,79}$", description="clip_id of the results")]
_PART_BYTES = 8192
_FORM: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "files": {"type": "array", "items": {"type": "string", "format": "binary"}},
                        "paths": {"type": "array", "items": {"type": "string"}},
                    },
                    "required": ["files"],
                }
            }
        },
    }
}


class ListQuery(Wire):
    """Which studies are listed, and in which order."""

    query: Annotated[str, Field(max_length=80)] = ""
    view: Annotated[str, Field(max_length=40)] = ""
    flag: Annotated[str, Field(max_length=64)] = ""
    state: PageState | Literal[""] = ""
    sort: SortKey = "received"
    offset: Annotated[int, Field(ge=0, le=10_000_000)] = 0
    limit: Annotated[int, Field(ge=1, le=500)] = 100


@router.get("/studies")
def list_studies(parts: Parts, wanted: Annotated[ListQuery, Query()]) -> StudyRows:
    """The studies that match, page by page."""
    chosen = StudyFilter(wanted.query, wanted.view, wanted.flag, str(wanted.state))
    return parts.studies.rows(chosen, wanted.sort, wanted.offset, wanted.limit)


@router.post("/studies", status_code=202, openapi_extra=_FORM)
async def upload(request: Request, parts: Parts, user: User) -> Uploaded:
    """Take files: DICOM, videos, pictures, zip archives; ``paths`` are their names with folders, in the same order."""
    limits = parts.config.limits
    try:
        form = await request.form(max_files=limits.files, max_fields=limits.files, max_part_size=_PART_BYTES)
    except HTTPException as error:
        if "Too many" in error.detail:
            raise PageError(f"an upload may hold {limits.files} files; upload fewer at once", 413) from None
        raise PageError("the upload cannot be read; choose the files again", 400) from None
    try:
        files = _incoming(form)
        taken = await run_in_threadpool(parts.uploads.take, files)
    finally:
        await form.close()
    for study in taken.studies:
        await run_in_threadpool(parts.studies.write_down, study, user.user, "uploaded")
    parts.queue.wake()
    return taken


def _incoming(form: FormData) -> list[IncomingFile]:
    files = [file for file in form.getlist("files") if isinstance(file, UploadFile)]
    if not files:
        raise PageError("the upload holds no file; choose files or a folder", 422)
    paths = [path for path in form.getlist("paths") if isinstance(path, str)]
    if len(paths) != len(files):
        paths = [file.filename or "" for file in files]
    return [IncomingFile(file.file, path) for file, path in zip(files, paths, strict=True)]


@router.get("/studies/{study}")
def show_study(study: StudyId, parts: Parts) -> StudyDetail:
    """Everything about a study that is analysed."""
    return parts.reviews.detail(study)


@router.patch("/studies/{study}")
def rename_study(study: StudyId, change: NewLabel, parts: Parts, user: User) -> StudyRow:
    """Call a study something else."""
    label = " ".join(change.label.split())
    if not label.isprintable() or not label:
        raise PageError("a label needs letters that can be shown; give another one", 422)
    before = parts.studies.row(study).label
    parts.studies.update(study, label=label)
    parts.studies.write_down(study, user.user, "renamed", "", (before, label))
    return parts.studies.row(study)


@router.post("/studies/{study}/retry")
def retry_study(study: StudyId, parts: Parts, user: User) -> StudyRow:
    """Analyse a study again that failed."""
    if parts.studies.row(study).state is not PageState.FAILED:
        raise PageError("the study has not failed, so there is nothing to try again", 409)
    parts.studies.update(study, state=PageState.QUEUED, error="")
    parts.studies.write_down(study, user.user, "tried again")
    parts.queue.wake()
    return parts.studies.row(study)


@router.delete("/studies/{study}", status_code=204)
def delete_study(study: StudyId, parts: Parts, user: Admin) -> None:
    """Delete a study with what the page wrote of it; files that were not uploaded stay where they are."""
    row = parts.studies.row(study)
    if row.state is PageState.ANALYSING:
        raise PageError("the study is being analysed; delete it when that is done", 409)
    if row.signed_by:
        raise PageError("the study is signed off; take the signature back first", 409)
    places = parts.studies.places(study)
    shared = parts.studies.shares(study, parts.results.folder(study))
    parts.studies.write_down(study, user.user, "deleted")
    parts.studies.remove(study)
    parts.clips.forget(study)
    forget_corrected_clips(parts.config.state, study)
    forget_results(parts.config, study, places.results, shared=shared)
