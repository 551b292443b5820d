'use strict';
// Cases, how they are told, and the word with `cargo ci interop`. Cases run side by side, because
// most of them wait; those added with `alone` run afterwards, one by one.

const readline = require('readline');
const crypto = require('crypto');

const cases = [];
const input = readline.createInterface({ input: process.stdin });
const answers = [];
const waiting = [];
let inputEnded = false;

input.on('line', line => {
  const take = waiting.shift();
  if (take) take(line);
  else answers.push(line);
});
input.on('close', () => {
  inputEnded = true;
  for (const take of waiting.splice(0)) take('');
});

class Skip extends Error {}

function test(name, run) {
  cases.push({ name, run, alone: false });
}

function alone(name, run) {
  cases.push({ name, run, alone: true });
}

function sleep(ms) {
  return new Promise(resolve => setTimeout(resolve, ms));
}

function unique(word) {
  return `${word}-${process.pid}-${crypto.randomBytes(3).toString('hex')}`;
}

/** Calls `look` until it gives something true, or fails after `ms`. */
async function eventually(look, ms, what) {
  const start = Date.now();
  for (;;) {
    const value = await look();
    if (value) return Date.now() - start;
    if (Date.now() - start > ms) throw new Error(`not within ${ms} ms: ${what}`);
    await sleep(50);
  }
}

/** Has the server killed and started again on the same data. */
async function restartServer() {
  console.log('RESTART');
  let answer = answers.shift();
  if (answer === undefined && !inputEnded) {
    answer = await new Promise(resolve => waiting.push(resolve));
  }
  if (answer !== 'RESTARTED') throw new Skip('the server is not ours to restart');
}

async function runOne({ name, run }) {
  const start = Date.now();
  try {
    await run();
  } catch (error) {
    if (error instanceof Skip) {
      console.log(`skip ${name} ${error.message}`);
      return true;
    }
    const line = /main\.js:(\d+)/.exec(error.stack || '');
    const why = String(error.message).replace(/\s+/g, ' ').slice(0, 500);
    console.log(`FAIL ${name} line ${line ? line[1] : 0}: ${why}`);
    return false;
  }
  console.log(`ok ${name} (${((Date.now() - start) / 1000).toFixed(1)} s)`);
  return true;
}

async function main() {
  const wanted = process.argv.slice(3);
  const chosen = cases.filter(({ name }) => wanted.length === 0 || wanted.includes(name));
  const passed = await Promise.all(chosen.filter(c => !c.alone).map(runOne));
  for (const one of chosen.filter(c => c.alone)) passed.push(await runOne(one));
  process.exit(passed.length > 0 && passed.every(Boolean) ? 0 : 1);
}

module.exports = { Skip, test, alone, sleep, unique, eventually, restartServer, main };
