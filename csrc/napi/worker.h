// One native thread that runs jobs in order, and the way back to JavaScript. It keeps the process alive only while a job is in flight, and ends cleanly
// when its environment does (process exit, worker termination): what has begun is awaited, waiting jobs are dropped.
//
// A job has two parts: it begins, and it is done later. While one is not done the next begins already, at most `kBegun` at a time, so that a device never
// waits for this thread; jobs begin and are settled in the order of the calls.
//
// Not the libuv pool: a step would starve behind other work there. All public functions are called on the JavaScript thread unless they say otherwise.
#pragma once
#include <napi.h>

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace m2::napi {

class Worker {
 public:
  // What settles a job's promise, called on the JavaScript thread.
  using Result = std::function<Napi::Value(Napi::Env)>;
  // A job that has begun. Both are called on the worker's thread, and what they throw rejects the promise.
  struct Begun {
    std::function<bool()> ready;     // whether `finish` would not wait
    std::function<Result()> finish;
  };
  static constexpr size_t kBegun = 2;

  explicit Worker(Napi::Env);
  ~Worker();
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  Napi::Promise begin(Napi::Env, std::function<Begun()> begin);
  // Runs a job of one part, when all before it is done.
  Napi::Promise run(Napi::Env, std::function<Result()> work);

  // Calls `report` on the JavaScript thread, later. From the worker's thread, inside a job.
  void report(std::function<void(Napi::Env)> report);

  void stop();

 private:
  struct Job;
  struct Message {
    std::function<void(Napi::Env)> deliver;
    bool ends_job;
  };
  static void on_message(Napi::Env, Napi::Function, Worker*, Message*);
  using Channel = Napi::TypedThreadSafeFunction<Worker, Message, on_message>;

  Napi::Promise add(std::unique_ptr<Job>);
  void loop();
  void settle(std::shared_ptr<Job>);
  void send(std::unique_ptr<Message>);

  Napi::Env env_;
  Channel channel_;
  size_t in_flight_ = 0;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::unique_ptr<Job>> waiting_;
  std::vector<std::unique_ptr<Message>> undelivered_;  // freed on the JavaScript thread, where their references belong
  bool stopping_ = false, stopped_ = false;
  std::thread thread_;
};

}  // namespace m2::napi
