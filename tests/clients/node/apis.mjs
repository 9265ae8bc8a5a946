// Compute Engine and Secret Manager by Google's generated Node clients.
import assert from 'node:assert/strict';
import {test} from 'node:test';
import {google, options} from './clients.mjs';

const compute = google('@google-cloud/compute');
const {SecretManagerServiceClient} = google('@google-cloud/secret-manager');
const project = process.env.GOOGLE_CLOUD_PROJECT;
const zone = 'europe-west1-b';

const zones = new compute.ZoneOperationsClient(options('compute'));
const globals = new compute.GlobalOperationsClient(options('compute'));

/** Waits for an operation as Google's examples do. */
async function done(client, scope, [answer]) {
  let operation = answer.latestResponse ?? answer;
  while (operation.status !== 'DONE') {
    [operation] = await client.wait({operation: operation.name, project, ...scope});
  }
  assert.equal(operation.error ?? null, null);
}

test('a disk is made, listed, changed and deleted', async () => {
  const disks = new compute.DisksClient(options('compute'));
  const at = {project, zone};
  await done(zones, {zone}, await disks.insert({...at, diskResource: {name: 'by-node', sizeGb: '10'}}));
  await done(zones, {zone}, await disks.resize({...at, disk: 'by-node', disksResizeRequestResource: {sizeGb: '20'}}));
  const [disk] = await disks.get({...at, disk: 'by-node'});
  assert.equal(disk.sizeGb, '20');
  const found = [];
  for await (const [scope, list] of disks.aggregatedListAsync({project, returnPartialSuccess: true})) {
    found.push(...(list.disks ?? []).map(each => `${scope}/${each.name}`));
  }
  assert.deepEqual(found, [`zones/${zone}/by-node`]);
  await done(zones, {zone}, await disks.delete({...at, disk: 'by-node'}));
});

test('a firewall rule is made, changed and deleted', async () => {
  const rules = new compute.FirewallsClient(options('compute'));
  const rule = {name: 'by-node', allowed: [{IPProtocol: 'tcp', ports: ['22']}], sourceRanges: ['10.0.0.0/8']};
  await done(globals, {}, await rules.insert({project, firewallResource: rule}));
  await done(globals, {}, await rules.patch({project, firewall: 'by-node', firewallResource: {priority: 900}}));
  const [all] = await rules.list({project});
  assert.deepEqual(all.map(each => [each.name, each.priority]), [['by-node', 900]]);
  await done(globals, {}, await rules.delete({project, firewall: 'by-node'}));
});

test('a machine is made, protected and deleted', async () => {
  const instances = new compute.InstancesClient(options('compute'));
  const at = {project, zone};
  const sourceImage = 'projects/debian-cloud/global/images/family/debian-12';
  const machine = {
    name: 'by-node',
    machineType: `zones/${zone}/machineTypes/e2-small`,
    disks: [{boot: true, autoDelete: true, initializeParams: {sourceImage}}],
    networkInterfaces: [{network: 'global/networks/default'}],
  };
  await done(zones, {zone}, await instances.insert({...at, instanceResource: machine}));
  const named = {...at, resource: 'by-node'};
  await done(zones, {zone}, await instances.setDeletionProtection({...named, deletionProtection: true}));
  await assert.rejects(instances.delete({...at, instance: 'by-node'}), /protected against deletion/);
  await done(zones, {zone}, await instances.setDeletionProtection({...named, deletionProtection: false}));
  const [found] = await instances.get({...at, instance: 'by-node'});
  assert.deepEqual([found.status, found.deletionProtection], ['RUNNING', false]);
  await done(zones, {zone}, await instances.delete({...at, instance: 'by-node'}));
});

test('a secret is made, read and deleted', async () => {
  const secrets = new SecretManagerServiceClient(options('secretmanager'));
  const [secret] = await secrets.createSecret({
    parent: `projects/${project}`, secretId: 'by-node', secret: {replication: {automatic: {}}, labels: {a: 'b'}},
  });
  const [version] = await secrets.addSecretVersion({parent: secret.name, payload: {data: Buffer.from('payload')}});
  const [read] = await secrets.accessSecretVersion({name: version.name});
  assert.equal(Buffer.from(read.payload.data).toString(), 'payload');
  const [all] = await secrets.listSecrets({parent: `projects/${project}`, filter: 'labels.a=b'});
  assert.equal(all.length, 1);
  await secrets.destroySecretVersion({name: version.name});
  await secrets.deleteSecret({name: secret.name});
});
