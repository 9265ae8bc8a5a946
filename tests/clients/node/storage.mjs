// Cloud Storage by @google-cloud/storage, which finds the sandbox by
// STORAGE_EMULATOR_HOST and then sends no credentials.
import assert from 'node:assert/strict';
import {randomBytes} from 'node:crypto';
import {after, before, test} from 'node:test';
import {google} from './clients.mjs';

const {Storage} = google('@google-cloud/storage');
const storage = new Storage({projectId: process.env.GOOGLE_CLOUD_PROJECT});
const bucket = storage.bucket(`${process.env.GOOGLE_CLOUD_PROJECT}-by-node`);

before(async () => {
  await bucket.create({location: 'EUROPE-WEST1', iamConfiguration: {uniformBucketLevelAccess: {enabled: true}}});
  await bucket.setMetadata({labels: {a: 'b'}, softDeletePolicy: {retentionDurationSeconds: '0'}});
});

after(async () => {
  await bucket.deleteFiles();
  await bucket.delete();
  assert.deepEqual(await bucket.exists(), [false]);
});

test('a bucket is read, listed and granted', async () => {
  const [metadata] = await bucket.getMetadata();
  assert.equal(metadata.labels.a, 'b');
  const [buckets] = await storage.getBuckets();
  assert.deepEqual(buckets.map(each => each.name), [bucket.name]);
  const [policy] = await bucket.iam.getPolicy({requestedPolicyVersion: 3});
  policy.bindings.push({role: 'roles/storage.objectViewer', members: ['allUsers']});
  await bucket.iam.setPolicy(policy);
  const [held] = await bucket.iam.testPermissions(['storage.buckets.get']);
  assert.equal(held['storage.buckets.get'], true);
});

test('objects are written, read, changed, copied and moved', async () => {
  const data = randomBytes(700_000);
  const small = bucket.file('dir/small ü.txt');
  await small.save('text', {resumable: false, metadata: {contentType: 'text/plain', metadata: {color: 'blue'}}});
  await bucket.file('large').save(data, {resumable: true, chunkSize: 256 * 1024});
  assert.deepEqual((await bucket.file('large').download())[0], data);
  assert.equal((await small.download())[0].toString(), 'text');
  await assert.rejects(small.save('again', {preconditionOpts: {ifGenerationMatch: 0}, resumable: false}), {code: 412});
  await small.setMetadata({contentType: 'text/html'});
  const [metadata] = await small.getMetadata();
  assert.deepEqual([metadata.contentType, metadata.metadata.color], ['text/html', 'blue']);
  await small.copy(bucket.file('copied'));
  await bucket.file('copied').moveFileAtomic('moved');
  const [files] = await bucket.getFiles();
  assert.deepEqual(files.map(each => each.name), ['dir/small ü.txt', 'large', 'moved']);
  await bucket.combine(['moved', 'dir/small ü.txt'], bucket.file('composed'));
  assert.equal((await bucket.file('composed').download())[0].toString(), 'texttext');
});

test('what is stored as gzip comes back as it was', async () => {
  const file = bucket.file('zipped');
  await file.save('hello '.repeat(1000), {gzip: true, resumable: false});
  const [metadata] = await file.getMetadata();
  assert.equal(metadata.contentEncoding, 'gzip');
  assert.equal((await file.download())[0].toString(), 'hello '.repeat(1000));
});

test('a refusal says why', async () => {
  await assert.rejects(bucket.file('absent').download(), {code: 404});
});
