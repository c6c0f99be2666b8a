// Names and texts of CUDA's errors. The text of one that has a report of ours contains it.
#include <mutex>
#include <set>
#include <string>

#include "emulator/host/api.h"
#include "emulator/host/device.h"

namespace {

struct Text {
  cudaError_t error;
  const char *name, *text;
};

#define M2_ERROR(name, text) {name, #name, text}
constexpr Text kTexts[] = {
    M2_ERROR(cudaSuccess, "no error"),
    M2_ERROR(cudaErrorInvalidValue, "invalid argument"),
    M2_ERROR(cudaErrorMemoryAllocation, "out of memory"),
    M2_ERROR(cudaErrorInitializationError, "initialization error"),
    M2_ERROR(cudaErrorInvalidConfiguration, "invalid configuration argument"),
    M2_ERROR(cudaErrorInvalidHostPointer, "invalid host pointer"),
    M2_ERROR(cudaErrorInvalidDevicePointer, "invalid device pointer"),
    M2_ERROR(cudaErrorInvalidMemcpyDirection, "invalid copy direction for memcpy"),
    M2_ERROR(cudaErrorInsufficientDriver, "CUDA driver version is insufficient for CUDA runtime version"),
    M2_ERROR(cudaErrorDevicesUnavailable, "CUDA-capable device(s) is/are busy or unavailable"),
    M2_ERROR(cudaErrorInvalidDeviceFunction, "invalid device function"),
    M2_ERROR(cudaErrorNoDevice, "no CUDA-capable device is detected"),
    M2_ERROR(cudaErrorInvalidDevice, "invalid device ordinal"),
    M2_ERROR(cudaErrorNoKernelImageForDevice, "no kernel image is available for execution on the device"),
    M2_ERROR(cudaErrorECCUncorrectable, "uncorrectable ECC error encountered"),
    M2_ERROR(cudaErrorOperatingSystem, "OS call failed or operation not supported on this OS"),
    M2_ERROR(cudaErrorInvalidResourceHandle, "invalid resource handle"),
    M2_ERROR(cudaErrorIllegalState, "the operation cannot be performed in the present state"),
    M2_ERROR(cudaErrorNotReady, "device not ready"),
    M2_ERROR(cudaErrorIllegalAddress, "an illegal memory access was encountered"),
    M2_ERROR(cudaErrorLaunchOutOfResources, "too many resources requested for launch"),
    M2_ERROR(cudaErrorLaunchTimeout, "the launch timed out and was terminated"),
    M2_ERROR(cudaErrorContextIsDestroyed, "context is destroyed"),
    M2_ERROR(cudaErrorAssert, "device-side assert triggered"),
    M2_ERROR(cudaErrorHardwareStackError, "hardware stack error"),
    M2_ERROR(cudaErrorIllegalInstruction, "an illegal instruction was encountered"),
    M2_ERROR(cudaErrorMisalignedAddress, "misaligned address"),
    M2_ERROR(cudaErrorInvalidAddressSpace, "operation not supported on global/shared address space"),
    M2_ERROR(cudaErrorInvalidPc, "invalid program counter"),
    M2_ERROR(cudaErrorLaunchFailure, "unspecified launch failure"),
    M2_ERROR(cudaErrorCooperativeLaunchTooLarge, "too many blocks in cooperative launch"),
    M2_ERROR(cudaErrorNotPermitted, "operation not permitted"),
    M2_ERROR(cudaErrorNotSupported, "operation not supported"),
    M2_ERROR(cudaErrorStreamCaptureUnsupported, "operation not permitted when stream is capturing"),
    M2_ERROR(cudaErrorStreamCaptureInvalidated, "operation failed due to a previous error during capture"),
    M2_ERROR(cudaErrorStreamCaptureMerge, "operation would result in a merge of separate capture sequences"),
    M2_ERROR(cudaErrorStreamCaptureUnmatched, "capture was not ended in the same stream as it began"),
    M2_ERROR(cudaErrorStreamCaptureUnjoined, "capturing stream has unjoined work"),
    M2_ERROR(cudaErrorStreamCaptureIsolation, "dependency created on uncaptured work in another stream"),
    M2_ERROR(cudaErrorStreamCaptureImplicit, "operation would make the legacy stream depend on a capturing blocking stream"),
    M2_ERROR(cudaErrorCapturedEvent, "operation not permitted on an event last recorded in a capturing stream"),
    M2_ERROR(cudaErrorStreamCaptureWrongThread, "attempt to terminate a thread-local capture sequence from another thread"),
    M2_ERROR(cudaErrorInvalidClusterSize, "invalid cluster size"),
    M2_ERROR(cudaErrorUnknown, "unknown error"),
};
#undef M2_ERROR

const Text& text_of(cudaError_t error) {
  for (const Text& text : kTexts) {
    if (text.error == error) return text;
  }
  return std::end(kTexts)[-1];
}

}  // namespace

const char* cudaGetErrorName(cudaError_t error) { return text_of(error).name; }

const char* cudaGetErrorString(cudaError_t error) {
  m2::emulator::Device& d = m2::emulator::device();
  const std::lock_guard lock(d.mutex);
  const char* text = text_of(error).text;
  if (error == cudaSuccess || error != d.reported || d.report.empty()) return text;
  static std::set<std::string>* texts = new std::set<std::string>;  // they are promised to stay
  return texts->insert(std::string(text) + ": " + d.report).first->c_str();
}
