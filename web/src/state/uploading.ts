/** Files and folders that were dropped or chosen, with their names relative to what was dropped. */
export interface Dropped {
  file: File;
  path: string;
}

async function filesOf(entry: FileSystemEntry, prefix: string): Promise<Dropped[]> {
  const path = prefix + entry.name;
  if (entry.isFile) {
    const file = await new Promise<File>((resolve, reject) => (entry as FileSystemFileEntry).file(resolve, reject));
    return [{ file, path }];
  }
  const reader = (entry as FileSystemDirectoryEntry).createReader();
  const found: Dropped[] = [];
  for (;;) {
    // a reader gives at most 100 entries at a time
    const some = await new Promise<FileSystemEntry[]>((resolve, reject) => reader.readEntries(resolve, reject));
    if (some.length === 0) return found;
    for (const child of some) found.push(...(await filesOf(child, `${path}/`)));
  }
}

/** All files of a drop, folders included. */
export async function droppedFiles(transfer: DataTransfer): Promise<Dropped[]> {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry()).filter((entry) => entry !== null);
  if (entries.length === 0) return [...transfer.files].map((file) => ({ file, path: file.name }));
  return (await Promise.all(entries.map((entry) => filesOf(entry, "")))).flat();
}

/** Files of a file chooser. */
export function chosenFiles(list: FileList): Dropped[] {
  return [...list].map((file) => ({ file, path: file.webkitRelativePath || file.name }));
}

/** The form that the server takes. */
export function uploadForm(files: readonly Dropped[]): FormData {
  const form = new FormData();
  for (const { file, path } of files) {
    form.append("files", file, file.name);
    form.append("paths", path);
  }
  return form;
}
