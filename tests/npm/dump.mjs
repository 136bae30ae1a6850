// Prints what one of the readers of package.json finds in a PST file: one JSON object a line, a folder or an error.
//
//     node dump.mjs pst-extractor|@hiraokahypertools/pst-extractor FILE [ENCODING]
//
// ENCODING is that of strings of old (ANSI) files, for the reader that takes one. A folder comes after its parent and
// holds its messages; what a reader throws at is told as an error with its place, and the rest goes on.

import { createHash } from 'node:crypto';

const EMBEDDED = 5;
const BLOCK = 8176;
const [, , reader, file, encoding] = process.argv;

// Both readers print their complaints; standard output is for what was found.
console.log = console.error;
const print = (found) => process.stdout.write(JSON.stringify(found) + '\n');
const sha256 = (bytes) => createHash('sha256').update(bytes).digest('hex');

// What `get` gives, or `otherwise` where it throws, which is told.
async function tried(place, otherwise, get) {
  try {
    return await get();
  } catch (error) {
    print({ error: String(error.message ?? error), place });
    return otherwise;
  }
}

function recipient(row) {
  return [row.recipientType & 0x0f, row.displayName, row.smtpAddress || row.emailAddress];
}

async function attachment(one, place, adapter) {
  const name = one.longFilename || one.filename || one.displayName;
  if (one.attachMethod === EMBEDDED) {
    const embedded = await tried(place, null, () => adapter.embedded(one));
    return { name, size: 0, sha256: '', message: embedded && (await message(embedded, `${place} > ${name}`, adapter)) };
  }
  const data = await tried(place, null, () => adapter.content(one));
  return { name, size: one.filesize, sha256: data === null ? '' : sha256(data), message: null };
}

async function message(item, place, adapter) {
  const recipients = await tried(`${place}: recipients`, [], () => adapter.recipients(item));
  const attachments = [];
  for (const one of await tried(`${place}: attachments`, [], () => adapter.attachments(item))) {
    attachments.push(await attachment(one, `${place}: attachment ${attachments.length + 1}`, adapter));
  }
  return {
    nid: adapter.nid(item),
    class: item.messageClass,
    subject: item.subject,
    headers: item.transportMessageHeaders,
    display_to: item.displayTo,
    display_cc: item.displayCC,
    recipients: recipients.map(recipient),
    attachments,
  };
}

async function walk(folder, path, adapter) {
  const place = path.join('/');
  const messages = [];
  for (const item of await tried(`${place}: messages`, [], () => adapter.messages(folder))) {
    messages.push(await message(item, `${place}: 0x${adapter.nid(item).toString(16)}`, adapter));
  }
  print({ path, nid: adapter.nid(folder), messages });
  for (const child of await tried(`${place}: folders`, [], () => folder.getSubFolders())) {
    await walk(child, [...path, child.displayName], adapter);
  }
}

function* counted(count, get) {
  for (let i = 0; i < count; i++) yield get(i);
}

// pst-extractor reads the whole table again for each of its rows: 18 seconds for 200 recipients.
function readOnce(table) {
  if (table) {
    const rows = table.getItems();
    table.getItems = () => rows;
  }
}

async function pstExtractor() {
  const { PSTFile } = (await import('pst-extractor')).default;
  const pst = new PSTFile(file);
  const adapter = {
    nid: (one) => one.descriptorNodeId.toNumber(),
    messages: (folder) => {
      const found = [];
      for (let item = folder.getNextChild(); item; item = folder.getNextChild()) found.push(item);
      return found;
    },
    recipients: (item) => {
      const count = item.numberOfRecipients;
      readOnce(item.recipientTable);
      return [...counted(count, (i) => item.getRecipient(i))];
    },
    attachments: (item) => {
      const count = item.numberOfAttachments;
      readOnce(item.attachmentTable);
      return [...counted(count, (i) => item.getAttachment(i))];
    },
    embedded: (one) => one.embeddedPSTMessage,
    content: (one) => {
      const stream = one.fileInputStream;
      const pieces = [];
      for (let count = BLOCK; stream && count === BLOCK; ) {
        const piece = Buffer.alloc(BLOCK);
        count = stream.read(piece);
        pieces.push(piece.subarray(0, Math.max(count, 0)));
      }
      return Buffer.concat(pieces);
    },
  };
  return { root: pst.getRootFolder(), adapter, close: () => pst.close() };
}

async function hiraoka() {
  const { openPstFile } = await import('@hiraokahypertools/pst-extractor');
  const pst = await openPstFile(file, encoding ? { ansiEncoding: encoding } : {});
  const adapter = {
    nid: (one) => one.primaryNodeId,
    messages: (folder) => folder.getEmails(),
    recipients: (item) => item.getRecipients(),
    attachments: (item) => item.getAttachments(),
    embedded: (one) => one.getEmbeddedPSTMessage(),
    content: (one) => new Uint8Array(one.fileData ?? new ArrayBuffer(0)),
  };
  return { root: await pst.getRootFolder(), adapter, close: () => pst.close() };
}

const open = { 'pst-extractor': pstExtractor, '@hiraokahypertools/pst-extractor': hiraoka }[reader];
const opened = await tried('open', null, open);
if (opened) {
  await tried('root', null, () => walk(opened.root, [], opened.adapter));
  await opened.close();
}
