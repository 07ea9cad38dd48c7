/** Gives the user a file. */

export function save(body: Blob, name: string): void {
  const link = document.createElement("a");
  const url = URL.createObjectURL(body);
  link.href = url;
  link.download = name;
  link.click();
  // The browser has begun to read it by then.
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}
