// Jobs a second through BullMQ on PostgreSQL: `node rate.cjs URL IN_FLIGHT SECONDS`.
const { Queue, Worker, createPostgresBackend } = require("bullmq");

const WARM_UP_MS = 1000;

async function main(url, inFlight, seconds) {
  const connection = { connectionString: url, schema: "bullmq", migrate: true, max: 20 };
  // What an earlier process left behind isn't this one's.
  const name = `bench-${process.pid}`;
  const queue = new Queue(name, { connection }, createPostgresBackend);
  await queue.waitUntilReady();
  const worker = new Worker(name, async () => {}, { connection, concurrency: inFlight }, createPostgresBackend);
  await worker.waitUntilReady();

  let done = 0;
  const fail = (error) => {
    console.error(error);
    process.exit(1);
  };
  const add = () => queue.add("job", { n: done }).catch(fail);
  worker.on("error", fail);
  worker.on("completed", () => {
    done += 1;
    add();
  });
  for (let n = 0; n < inFlight; n += 1) add();

  const after = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
  await after(WARM_UP_MS);
  const [doneBefore, began] = [done, performance.now()];
  await after(seconds * 1000);
  console.log(((done - doneBefore) * 1000) / (performance.now() - began));
  process.exit(0);
}

const [url, inFlight, seconds] = process.argv.slice(2);
main(url, Number(inFlight), Number(seconds));
